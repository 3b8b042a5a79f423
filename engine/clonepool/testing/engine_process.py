"""A real `clonepool serve` in a folder of its own, for tests and the demo: started, killed, ended.

What it starts it ends by process id: the engine itself, and the tgtd that its iSCSI fabric left
running on purpose.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Final

from clonepool.api.client import EngineClient
from clonepool.api.v1 import engine_pb2 as pb
from clonepool.config import DriverSettings
from clonepool.errors import ClonepoolError, FailedPrecondition
from clonepool.fabrics.iscsi import IscsiFabric
from clonepool.fabrics.processes import Process, boot_id
from clonepool.fabrics.registry import create_fabric
from clonepool.testing.interrupts import undisturbed

_START_TIMEOUT_S: Final = 30.0
_STOP_TIMEOUT_S: Final = 20.0
_POLL_S: Final = 0.02
_LOG_TAIL_BYTES: Final = 4000
# a test's images are small: a share of a large disk would only refuse pools on a full machine
_RESERVE: Final = "64MiB"
_FABRIC: Final = "iscsi"


class EngineProcess:
    """One engine on one state folder; a start after a kill takes up the same state.

    ``folder`` must be short: a Unix socket's path has 107 bytes. ``variables`` are added to the
    environment, from which all of ``CLONEPOOL_*`` is left out; what they are at a start counts.
    ``program`` is the module whose ``main`` runs; ``settings`` are more lines of its settings file,
    which begin with a table. Use it in ``with``, or ``close`` it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        workers: int = 4,
        storage_path: Path | None = None,
        variables: Mapping[str, str] = MappingProxyType({}),
        program: str = "clonepool.cli",
        settings: str = "",
    ) -> None:
        self.state_dir = folder / "state"
        self.log = folder / "engine.log"
        self.endpoint = f"unix://{folder}/engine.sock"
        self.storage = storage_path or self.state_dir / "storage" / "default"
        self._config = folder / "clonepool.toml"
        self._variables = variables
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self._config.write_text(_settings(self, workers=workers) + settings)

    def __enter__(self) -> EngineProcess:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Its process id. Raises FailedPrecondition when it does not run."""
        if self._process is None:
            raise FailedPrecondition("the engine does not run; start it first")
        return self._process.pid

    @property
    def tgtd_folder(self) -> Path:
        """Where its own tgtd has socket, log and record."""
        return self._fabric_folder / "tgtd"

    @property
    def _fabric_folder(self) -> Path:
        return self.state_dir / "fabrics" / _FABRIC

    def start(self, *, timeout_s: float = _START_TIMEOUT_S) -> None:
        """Start it and wait until it serves. Raises FailedPrecondition with the end of its log."""
        self.launch()
        self.await_serving(timeout_s=timeout_s)

    def launch(self) -> None:
        """Start it without waiting."""
        if self._process is not None:
            raise FailedPrecondition(f"the engine runs already (pid {self._process.pid})")
        kept = {name: text for name, text in os.environ.items() if not _is_ours(name)}
        main = f"from {self._program} import main; raise SystemExit(main())"
        program = [sys.executable, "-c", main]
        with self.log.open("ab") as log, undisturbed() as deliver_interrupt:
            self._process = subprocess.Popen(
                [*program, "serve", "--config", str(self._config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**kept, **self._variables},
                # Ctrl-C in a terminal is for whoever started it, who ends it in good order
                start_new_session=True,
            )
        deliver_interrupt()

    def await_serving(self, *, timeout_s: float = _START_TIMEOUT_S) -> None:
        """Wait until it answers. Raises FailedPrecondition with the end of its log."""
        deadline = time.monotonic() + timeout_s
        with EngineClient.connect(endpoint=self.endpoint, connect_wait_s=0.1) as client:
            while time.monotonic() < deadline and self.is_running():
                try:
                    client.call("GetEngineInfo", pb.GetEngineInfoRequest(), timeout_s=2)
                except ClonepoolError:
                    time.sleep(_POLL_S)
                else:
                    return
        raise FailedPrecondition(f"the engine does not serve: {self.log_tail()}")

    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def await_death(self, *, timeout_s: float) -> int:
        """Wait until it ended by itself; how it did. Raises FailedPrecondition when it lives."""
        process = self._running()
        try:
            code = process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise FailedPrecondition(f"the engine lives: {self.log_tail()}") from None
        self._process = None
        return code

    def kill(self) -> None:
        """End it at once, as a power loss of the process does; its tgtd serves on."""
        process = self._running()
        process.kill()
        process.wait()
        self._process = None

    def stop(self) -> None:
        """End it in good order (SIGTERM); its tgtd serves on."""
        process = self._running()
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise FailedPrecondition(f"the engine did not end: {self.log_tail()}") from None
        self._process = None

    def close(self) -> None:
        """End the engine, then its tgtd and its bind mounts. May be repeated."""
        try:
            if self.is_running():
                self.stop()
        finally:
            self._process = None
            self.end_tgtd()
            self._end_local_exports()

    def end_tgtd(self) -> None:
        """End the tgtd that this engine's fabric started, with the sessions on it, by its id."""
        if not self.tgtd_folder.exists():
            return
        recorded = self.find_tgtd()
        if recorded is None:
            # an engine that was killed while starting it may have left one without a record
            settings = DriverSettings(name=_FABRIC, driver="iscsi")
            IscsiFabric.open(settings, state_dir=self._fabric_folder).stop()
            return
        # with targets left it ignores SIGTERM; nothing of it outlives its process
        recorded.signal(signal.SIGKILL)
        recorded.wait_gone(timeout_s=_STOP_TIMEOUT_S)

    def _end_local_exports(self) -> None:
        """Unmount what the local fabric mounted."""
        settings = DriverSettings(name="local", driver="local")
        if (self._fabric_folder.parent / settings.name).exists():
            fabric = create_fabric(settings, state_dir=self.state_dir)
            for target in fabric.list():
                fabric.unexport(target)

    def find_tgtd(self) -> Process | None:
        """The engine's own tgtd, if it runs and is recorded."""
        try:
            record = json.loads((self.tgtd_folder / "tgtd.json").read_text())
        except FileNotFoundError:
            return None
        process = Process(pid=record["pid"], start_ticks=record["start_ticks"])
        return process if record["boot_id"] == boot_id() and process.is_alive() else None

    def client(self, *, timeout_s: float = 30.0) -> EngineClient:
        """A client of it, to be closed."""
        return EngineClient.connect(endpoint=self.endpoint, timeout_s=timeout_s)

    def log_tail(self) -> str:
        """The end of what it logged."""
        if not self.log.exists():
            return "no log"
        return self.log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace").strip()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise FailedPrecondition("the engine does not run; start it first")
        return self._process


def _is_ours(name: str) -> bool:
    return name.startswith("CLONEPOOL_")


def _settings(engine: EngineProcess, *, workers: int) -> str:
    values = {
        "state_dir": str(engine.state_dir),
        "listen": engine.endpoint,
        "node": "node1",
        "workers": workers,
        "log_level": "debug",
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    storage = [f'path = "{engine.storage}"', f'reserve = "{_RESERVE}"']
    return "\n".join([*lines, "[storages.default]", *storage, ""])
