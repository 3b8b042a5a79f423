"""Real processes: the engine as it is shipped, from its start to its end, and what it holds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from clonepool.api.client import EngineClient
from clonepool.fabrics.processes import Process

BIN = Path(sys.executable).parent
CHECKOUT = Path(__file__).resolve().parents[1]
_START_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 60.0
_POLL_S = 0.002


def environment(**more: str) -> Mapping[str, str]:
    """This process's environment without settings of Clonepool's, and with the checkout's code."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("CLONEPOOL_")
    }
    return {**inherited, "PYTHONPATH": str(CHECKOUT), **more}


def timed_run(argv: Sequence[str], *, env: Mapping[str, str]) -> float:
    """Seconds that a whole process takes, from before its start to after its end."""
    began = time.perf_counter()
    subprocess.run(argv, env=env, check=True, stdout=subprocess.DEVNULL, timeout=300)
    return time.perf_counter() - began


@dataclass(frozen=True, kw_only=True)
class EngineProcess:
    """A running ``clonepool serve``; ``start_s`` is from its start to health SERVING."""

    endpoint: str
    process: subprocess.Popen[bytes]
    start_s: float

    def client(self) -> EngineClient:
        """A client of it, to be closed."""
        return EngineClient.connect(endpoint=self.endpoint, timeout_s=120)

    def memory(self) -> Mapping[str, float]:
        """``pss``, ``rss`` and the ``peak`` of the latter, in MiB."""
        return memory_mib(self.process.pid)


def memory_mib(pid: int) -> Mapping[str, float]:
    """A process's memory: proportional share, resident, and most that was ever resident."""
    found = _fields(Path(f"/proc/{pid}/smaps_rollup"))
    peak = _fields(Path(f"/proc/{pid}/status"))
    return {
        "pss": found["Pss"] / 1024,
        "rss": found["Rss"] / 1024,
        "peak": peak["VmHWM"] / 1024,
    }


def _fields(path: Path) -> dict[str, int]:
    """The ``Name:   123 kB`` lines of a file in /proc."""
    lines = (line.partition(":") for line in path.read_text().splitlines())
    return {name: int(text.split()[0]) for name, _, text in lines if text.endswith(" kB")}


@contextmanager
def engine_process(
    state_dir: Path, *, config: str = "", keep_tgtd: bool = False
) -> Iterator[EngineProcess]:
    """Serve ``state_dir`` on a Unix socket beside it; at the end drained and ended, with its tgtd.

    ``config`` is a settings file's text. Raises RuntimeError, with its log, when it does not come
    up.
    """
    state_dir.parent.mkdir(exist_ok=True)
    listen = f"unix://{state_dir}.sock"
    settings, log = Path(f"{state_dir}.toml"), Path(f"{state_dir}.log")
    settings.write_text(config)
    argv = [str(BIN / "clonepool"), "serve", "--config", str(settings)]
    argv += ["--state-dir", str(state_dir), "--listen", listen, "--log-level", "warning"]
    with log.open("ab") as output:
        began = time.perf_counter()
        process = subprocess.Popen(argv, env=environment(), stdout=output, stderr=output)
    try:
        _wait_serving(process, listen, log=log)
        start_s = time.perf_counter() - began
        yield EngineProcess(endpoint=listen, process=process, start_s=start_s)
    finally:
        end(process)
        if not keep_tgtd:
            end_tgtd(state_dir)


def end(process: subprocess.Popen[Any]) -> None:
    """Ask it to end, and kill it when it does not."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def end_tgtd(state_dir: Path) -> None:
    """End the tgtd that an engine left running on purpose: exactly the process of its record."""
    record = state_dir / "fabrics" / "iscsi" / "tgtd" / "tgtd.json"
    with suppress(FileNotFoundError):
        found = json.loads(record.read_text())
        process = Process(pid=found["pid"], start_ticks=found["start_ticks"])
        # with targets left it ignores SIGTERM
        process.signal(signal.SIGKILL)
        process.wait_gone(timeout_s=_STOP_TIMEOUT_S)
        record.unlink()


def _wait_serving(process: subprocess.Popen[bytes], listen: str, *, log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    path = Path(listen.removeprefix("unix://"))
    while time.monotonic() < deadline and process.poll() is None:
        if path.exists() and _is_serving(path):
            return
        time.sleep(_POLL_S)
    raise RuntimeError(f"the engine is not serving on {listen}: {log.read_text()[-2000:]}")


def _is_serving(path: Path) -> bool:
    with grpc.insecure_channel(f"unix:{path}") as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=1)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
