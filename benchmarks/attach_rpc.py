"""Attach and release over gRPC: engine, floor and callers each in a process of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import remote_site
from benchmarks.callers import Sizes, attach_goal, by_callers, figure
from benchmarks.figures import NO_GOAL, Figure, Goal
from benchmarks.floor import ATTACH_FLOOR, RELEASE_FLOOR
from benchmarks.needs import need_tgt
from benchmarks.processes import CHECKOUT, end, end_tgtd, engine_process, environment
from benchmarks.rounds import Burst

NAME = "attach_rpc"
_POOL = "web"

FULL = Sizes(rounds=5, operations={1: 60, 8: 120, 64: 192})
QUICK = Sizes(rounds=3, operations={1: 25, 8: 48, 64: 128})
SMOKE = Sizes(rounds=2, operations={1: 2, 4: 8})


class LoadClient:
    """The process with the callers; one order at a time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def burst(self, side: str, verb: str, *, callers: int, first: int, count: int) -> Burst:
        """Let it do ``count`` operations. Raises RuntimeError when it failed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"side": side, "verb": verb, "callers": callers, "first": first, "count": count}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("the load client failed; its error is above")
        return Burst(**json.loads(answer))


def run(*, scratch: Path, sizes: Sizes) -> list[Figure]:
    """Attach everything, then release everything: a release makes room for a new replica."""
    need_tgt()
    floor_socket = scratch / "floor.sock"
    with (
        _floor_server(scratch / "floor", floor_socket, targets=sizes.total),
        engine_process(scratch / "engine" / "state") as engine,
        engine.client() as client,
        _load_client(engine.endpoint, floor_socket) as load,
    ):
        remote_site.add_image(client, "web", folder=scratch)
        remote_site.add_pool(client, _POOL, image="web", ready=sizes.total)
        remote_site.wait_idle(client)
        figures = _measure(load, sizes, verb="attach", floor_name=f"an RPC with {ATTACH_FLOOR}")
        # nothing is ready any more, and nothing shall be made ready while releases are timed
        remote_site.resize_pool(client, _POOL, ready=0)
        remote_site.wait_idle(client)
        return figures + _measure(
            load, sizes, verb="release", floor_name=f"an RPC with {RELEASE_FLOOR}"
        )


def _measure(load: LoadClient, sizes: Sizes, *, verb: str, floor_name: str) -> list[Figure]:
    def floor(*, callers: int, first: int, count: int) -> Burst:
        return load.burst("floor", verb, callers=callers, first=first, count=count)

    def subject(*, callers: int, first: int, count: int) -> Burst:
        return load.burst("engine", verb, callers=callers, first=first, count=count)

    return [
        figure(
            benchmark=NAME,
            name=f"{verb}, over gRPC",
            callers=callers,
            pairs=pairs,
            floor_name=floor_name,
            goal=_goal(verb, callers),
        )
        for callers, pairs in by_callers(sizes, floor=floor, subject=subject)
    ]


def _goal(verb: str, callers: int) -> Goal:
    return attach_goal(callers) if verb == "attach" else NO_GOAL


@contextmanager
def _floor_server(folder: Path, socket: Path, *, targets: int) -> Iterator[None]:
    words = (str(folder), str(socket), str(targets))
    with _python("floor_server", *words) as process:
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
