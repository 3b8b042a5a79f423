"""What the engine's process holds in memory: at rest, and with many volumes in its database."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks import remote_site
from benchmarks.bulk import add_volumes
from benchmarks.figures import Figure, Goal
from benchmarks.processes import EngineProcess, end, engine_process, environment, memory_mib
from benchmarks.rounds import alternate
from benchmarks.site import IMAGE_BYTES
from clonepool.api.v1 import engine_pb2 as pb
from clonepool.backends.directory import Place, StorageDirectory
from clonepool.domain import names
from clonepool.domain.states import VolumeState

NAME = "memory"
_REST_GOAL = Goal(limit=120, text="< 120 MiB")
_MANY_GOAL = Goal(limit=250, text="< 250 MiB")
_FLOOR_NAME = "an idle Python process that has imported grpc and sqlmodel (PSS)"
_FLOOR_PROGRAM = "import grpc, sqlmodel, sys; print('ready', flush=True); sys.stdin.read()"


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Rounds; how many volumes, and how many of them are exported on the local fabric."""

    rounds: int
    volumes: int = 100_000
    exported: int = 4_000


FULL = Sizes(rounds=3)
QUICK = Sizes(rounds=1)
SMOKE = Sizes(rounds=1, volumes=300, exported=20)


def run(*, scratch: Path, sizes: Sizes) -> list[Figure]:
    """An empty engine; then one with many volumes, most of them released."""
    at_rest = scratch / "rest" / "state"
    many = scratch / "many" / "state"
    _prepare(many, sizes)
    return [
        _figure("engine at rest", at_rest, sizes, volumes=0, goal=_REST_GOAL),
        _figure(
            f"engine at {sizes.volumes:,} volumes",
            many,
            sizes,
            volumes=sizes.volumes,
            goal=_MANY_GOAL,
            note=f"{sizes.exported:,} of the volumes are ready and exported (local fabric: one "
            "tgtd takes no more), the others released",
        ),
    ]


def _figure(
    name: str, state_dir: Path, sizes: Sizes, *, volumes: int, goal: Goal, note: str = ""
) -> Figure:
    pairs = alternate(
        rounds=sizes.rounds,
        floor=lambda _number: _idle_python(),
        subject=lambda _number: _engine(state_dir, volumes=volumes),
    )
    return Figure(
        benchmark=NAME,
        name=name,
        unit="MiB",
        floor_name=_FLOOR_NAME,
        floor=[each["pss"] for each in pairs.floor],
        subject=[each["pss"] for each in pairs.subject],
        goal=goal,
        details={key: max(each[key] for each in pairs.subject) for key in pairs.subject[0]},
        note=note,
    )


def _engine(state_dir: Path, *, volumes: int) -> Mapping[str, float]:
    """Memory of an engine that has started and answered what an operator asks."""
    with engine_process(state_dir) as engine:
        _ask(engine, volumes=volumes)
        return {**engine.memory(), "start_s": engine.start_s}


def _ask(engine: EngineProcess, *, volumes: int) -> None:
    with engine.client() as client:
        info = client.call("GetEngineInfo", pb.GetEngineInfoRequest())
        if info.volumes != volumes:
            raise RuntimeError(f"the engine has {info.volumes} volumes, not {volumes}")
        client.call("ListPools", pb.ListRequest())
        client.call("ListVolumes", pb.ListVolumesRequest(page_size=1000))


def _idle_python() -> Mapping[str, float]:
    process = subprocess.Popen(
        [sys.executable, "-c", _FLOOR_PROGRAM],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            return memory_mib(process.pid)
        finally:
            end(process)


def _prepare(state_dir: Path, sizes: Sizes) -> None:
    """A database with the volumes, and a hollow file for each that is exported."""
    with engine_process(state_dir) as engine, engine.client() as client:
        remote_site.add_image(client, "web", folder=state_dir.parent)
        remote_site.add_pool(client, "web", image="web", ready=1, fabric="local")
    released = sizes.volumes - sizes.exported
    add_volumes(state_dir, pool="web", count=released, state=VolumeState.RELEASED)
    ready = add_volumes(state_dir, pool="web", count=sizes.exported - 1, state=VolumeState.READY)
    storage = StorageDirectory(state_dir / "storage" / "default")
    for volume_id in ready:
        name = names.volume_object(volume_id=volume_id, generation=1)
        with storage.path(Place.FULL, name).open("wb") as file:
            file.truncate(IMAGE_BYTES)
