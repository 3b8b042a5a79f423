"""`pulumi up` of many attachments, against as many dynamic resources that do nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import remote_site
from benchmarks.figures import NO_GOAL, Figure, Goal
from benchmarks.needs import need_pulumi, need_tgt
from benchmarks.processes import CHECKOUT, engine_process
from benchmarks.rounds import alternate
from clonepool.api.client import EngineClient
from tests.support.pulumi_project import PulumiProject

NAME = "pulumi_up"
GOAL = Goal(ratio=1.3)
_STEPS = ("preview", "up", "destroy")
_FLOOR_PROGRAM = """
from benchmarks.noop import Noop

for number in range({count}):
    Noop(f"nothing-{{number}}")
"""
_PROGRAM = """
import pulumi_clonepool as clonepool

for number in range({count}):
    clonepool.ServerStorageAttachment(
        f"attachment-{{number}}",
        pool="web",
        inline_server={{
            "name": f"server-{{number}}",
            "initiator": f"iqn.2026-01.example:server-{{number}}",
        }},
    )
"""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Rounds, and resources a stack."""

    rounds: int
    resources: int


FULL = Sizes(rounds=5, resources=100)
QUICK = Sizes(rounds=2, resources=100)
SMOKE = Sizes(rounds=1, resources=3)


def run(*, scratch: Path, sizes: Sizes) -> list[Figure]:
    """Preview, up and destroy of both stacks; in between the pool is scrubbed full again."""
    need_tgt()
    pulumi_bin = need_pulumi()
    count = sizes.resources
    with engine_process(scratch / "engine" / "state") as engine, engine.client() as client:
        remote_site.add_image(client, "web", folder=scratch)
        remote_site.add_pool(client, "web", image="web", ready=count, scrub_threshold=count)
        floor = _project(scratch / "nothing", pulumi_bin, _FLOOR_PROGRAM.format(count=count))
        subject = _project(
            scratch / "attachments", pulumi_bin, _PROGRAM.format(count=count), engine.endpoint
        )
        pairs = alternate(
            rounds=sizes.rounds,
            floor=lambda _number: _go_through(floor),
            subject=partial(_attach_all, subject, client, count),
        )
    return _figures(pairs.floor, pairs.subject, count=count)


def _project(folder: Path, pulumi_bin: Path, program: str, endpoint: str = "") -> PulumiProject:
    variables = {"PYTHONPATH": str(CHECKOUT), "CLONEPOOL_ENDPOINT": endpoint}
    folder.mkdir()
    made = PulumiProject(
        folder=folder, pulumi_bin=pulumi_bin, name=folder.name, variables=variables
    )
    made.create(program)
    return made


def _attach_all(
    project: PulumiProject, client: EngineClient, count: int, _number: int
) -> Mapping[str, float]:
    remote_site.wait_ready(client, "web", ready=count)
    remote_site.wait_idle(client)
    taken = _go_through(project)
    # the threshold is reached: scrubbed, cloned anew, and ready for the next round
    remote_site.wait_ready(client, "web", ready=count)
    remote_site.wait_idle(client)
    return taken


def _go_through(project: PulumiProject) -> Mapping[str, float]:
    """Seconds of each whole command."""
    return {
        "preview": _timed(project, "preview"),
        "up": _timed(project, "up", "--skip-preview"),
        "destroy": _timed(project, "destroy", "--skip-preview"),
    }


def _timed(project: PulumiProject, *words: str) -> float:
    began = time.perf_counter()
    project.run(*words)
    return time.perf_counter() - began


def _figures(
    floors: Sequence[Mapping[str, float]], subjects: Sequence[Mapping[str, float]], *, count: int
) -> list[Figure]:
    return [
        Figure(
            benchmark=NAME,
            name=f"pulumi {step}, {count} attachments",
            unit="s",
            floor_name=f"the same command on {count} dynamic resources that do nothing",
            floor=[each[step] for each in floors],
            subject=[each[step] for each in subjects],
            goal=GOAL if step == "up" else NO_GOAL,
        )
        for step in _STEPS
    ]
