"""Stacks of 1, 10 and 100 attachments by an infrastructure tool, beside as many that do nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks import remote_site
from benchmarks.figures import NO_GOAL, Figure, Goal
from benchmarks.processes import CHECKOUT, EngineProcess, engine_process
from benchmarks.rounds import alternate
from clonepool.api.client import EngineClient
from tests.support.pulumi_project import PulumiProject

PULUMI_GOAL = Goal(ratio=1.3)
Steps = Mapping[str, float]  # seconds of each command, by its name
_NOTHING = """
from benchmarks.noop import Noop

for number in range({count}):
    Noop(f"nothing-{{number}}")
"""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Rounds for each number of attachments; the largest has the goal."""

    rounds: int
    counts: Sequence[int]


FULL = Sizes(rounds=5, counts=(1, 10, 100))
QUICK = Sizes(rounds=2, counts=(1, 10, 100))
SMOKE = Sizes(rounds=1, counts=(1, 3))


class Stack(Protocol):
    """A project of an infrastructure tool."""

    def go_through(self) -> Steps:
        """Make everything and take it away; the seconds of each whole command, in order."""


@dataclass(frozen=True, kw_only=True)
class StackSite:
    """What a stack of attachments is told: the engine, its pool there, and how many."""

    endpoint: str
    pool: str
    count: int


@dataclass(frozen=True)
class PulumiStack:
    """A Pulumi project; `up` and `destroy` without their previews."""

    project: PulumiProject

    def go_through(self) -> Steps:
        """Preview, up, destroy."""
        return {
            "preview": self._timed("preview"),
            "up": self._timed("up", "--skip-preview"),
            "destroy": self._timed("destroy", "--skip-preview"),
        }

    def _timed(self, *words: str) -> float:
        began = time.perf_counter()
        self.project.run(*words)
        return time.perf_counter() - began


def python_stack(folder: Path, pulumi_bin: Path, program: str, *, endpoint: str) -> PulumiStack:
    """A Python program as a project; its module may import ours."""
    variables = {"PYTHONPATH": str(CHECKOUT), "CLONEPOOL_ENDPOINT": endpoint}
    folder.mkdir()
    project = PulumiProject(
        folder=folder, pulumi_bin=pulumi_bin, name=folder.name, variables=variables
    )
    project.create(program)
    return PulumiStack(project)


def pulumi_floor(folder: Path, pulumi_bin: Path, *, count: int) -> PulumiStack:
    """As many dynamic resources that do nothing."""
    return python_stack(folder, pulumi_bin, _NOTHING.format(count=count), endpoint="")


def measure(
    *,
    benchmark: str,
    command: str,
    scratch: Path,
    sizes: Sizes,
    floor: Callable[[Path, int], Stack],
    subject: Callable[[Path, StackSite], Stack],
    floor_name: str = "the same command on {count} dynamic resources that do nothing",
    timed: str = "up",
    goal: Goal = PULUMI_GOAL,
) -> list[Figure]:
    """Both stacks in turns. Of the smaller ones only the step ``timed`` is shown.

    ``floor`` and ``subject`` lay a project out in a folder that is not there yet.
    """
    figures: list[Figure] = []
    with engine_process(scratch / "engine" / "state") as engine, engine.client() as client:
        remote_site.add_image(client, "web", folder=scratch)
        for count in sizes.counts:
            site = _site(engine, client, count=count)
            below = floor(scratch / f"nothing-{count}", count)
            above = subject(scratch / f"attachments-{count}", site)
            pairs = alternate(
                rounds=sizes.rounds,
                floor=lambda _number, stack=below: stack.go_through(),
                subject=lambda _number, stack=above, site=site: _attach_all(stack, client, site),
            )
            steps = pairs.floor[0] if count == max(sizes.counts) else (timed,)
            figures += [
                Figure(
                    benchmark=benchmark,
                    name=f"{command} {step}, {count} attachment{'' if count == 1 else 's'}",
                    unit="s",
                    floor_name=floor_name.format(count="as many"),
                    floor=[each[step] for each in pairs.floor],
                    subject=[each[step] for each in pairs.subject],
                    goal=goal if step == timed and count == max(sizes.counts) else NO_GOAL,
                )
                for step in steps
            ]
    return figures


def _site(engine: EngineProcess, client: EngineClient, *, count: int) -> StackSite:
    """A full pool of so many; its threshold is what one stack gives back."""
    pool = f"web-{count}"
    remote_site.add_pool(client, pool, image="web", ready=count, scrub_threshold=count)
    return StackSite(endpoint=engine.endpoint, pool=pool, count=count)


def _attach_all(stack: Stack, client: EngineClient, site: StackSite) -> Steps:
    """Go through it; afterwards all is scrubbed, cloned anew, and ready for the next round."""
    remote_site.wait_ready(client, site.pool, ready=site.count)
    remote_site.wait_idle(client)
    taken = stack.go_through()
    remote_site.wait_ready(client, site.pool, ready=site.count)
    remote_site.wait_idle(client)
    return taken
