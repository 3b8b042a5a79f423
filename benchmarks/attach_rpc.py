"""Attach and release over gRPC: engine, floor and callers each in a process of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import callers, remote_site
from benchmarks.callers import Order, Sizes
from benchmarks.figures import Figure
from benchmarks.floor import ATTACH_FLOOR, RELEASE_FLOOR
from benchmarks.needs import need_tgt
from benchmarks.processes import CHECKOUT, end, end_tgtd, engine_process, environment
from benchmarks.rounds import Burst
from clonepool.api.client import EngineClient

NAME = "attach_rpc"
FULL, QUICK, SMOKE = callers.FULL, callers.QUICK, callers.SMOKE
_POOL = "web"


class LoadClient:
    """The process with the callers; one order at a time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def burst(self, side: str, verb: str, order: Order) -> Burst:
        """Let it do the operations. Raises RuntimeError when it failed."""
        return Burst(**self._ask({"side": side, "verb": verb, **asdict(order)}))

    def export(self, count: int) -> None:
        """Let the floor export more targets."""
        self._ask({"side": "floor", "verb": "export", "count": count})

    def _ask(self, order: Mapping[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("the load client failed; its error is above")
        return json.loads(answer)


class FloorSide:
    """The floor's server, called by the load client."""

    def __init__(self, load: LoadClient) -> None:
        self._load = load

    def prepare(self, count: int) -> None:
        """Export targets."""
        self._load.export(count)

    def attach(self, order: Order) -> Burst:
        """One RPC that commits and grants."""
        return self._load.burst("floor", "attach", order)

    def settle(self) -> None:
        """Nothing follows."""

    def release(self, order: Order) -> Burst:
        """One RPC that commits, revokes and unexports."""
        return self._load.burst("floor", "release", order)


class EngineSide:
    """`clonepool serve`, called by the load client."""

    def __init__(self, load: LoadClient, client: EngineClient) -> None:
        self._load = load
        self._client = client

    def prepare(self, count: int) -> None:
        """Fill the pool."""
        remote_site.resize_pool(self._client, _POOL, ready=count)
        remote_site.wait_ready(self._client, _POOL, ready=count)
        remote_site.wait_idle(self._client)

    def attach(self, order: Order) -> Burst:
        """CreateAttachment."""
        return self._load.burst("engine", "attach", order)

    def settle(self) -> None:
        """Let no released volume make room for a new replica while releases are timed."""
        remote_site.resize_pool(self._client, _POOL, ready=0)
        remote_site.wait_idle(self._client)

    def release(self, order: Order) -> Burst:
        """DeleteAttachment."""
        return self._load.burst("engine", "release", order)


def run(*, scratch: Path, sizes: Sizes) -> list[Figure]:
    """Each number of callers against the floor."""
    need_tgt()
    floor_socket = scratch / "floor.sock"
    with (
        _floor_server(scratch / "floor", floor_socket),
        engine_process(scratch / "engine" / "state") as engine,
        engine.client() as client,
        _load_client(engine.endpoint, floor_socket) as load,
    ):
        remote_site.add_image(client, "web", folder=scratch)
        remote_site.add_pool(client, _POOL, image="web", ready=0)
        return callers.measure(
            benchmark=NAME,
            how="over gRPC",
            sizes=sizes,
            floor=FloorSide(load),
            subject=EngineSide(load, client),
            attach_floor=f"an RPC with {ATTACH_FLOOR}",
            release_floor=f"an RPC with {RELEASE_FLOOR}",
        )


@contextmanager
def _floor_server(folder: Path, socket: Path) -> Iterator[None]:
    with _python("floor_server", str(folder), str(socket)) as process:
        assert process.stdout is not None
        try:
            if process.stdout.readline() != "serving\n":
                raise RuntimeError("the floor's server failed; its error is above")
            yield
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(60)
            # it ends its own; this is for one that was killed
            end_tgtd(folder / "state")


@contextmanager
def _load_client(endpoint: str, floor_socket: Path) -> Iterator[LoadClient]:
    with _python("load_client", endpoint, str(floor_socket), _POOL) as process:
        yield LoadClient(process)


@contextmanager
def _python(module: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A module of ours as a process spoken to by lines, ended at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"benchmarks.{module}", *words],
        cwd=CHECKOUT,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        end(process)
