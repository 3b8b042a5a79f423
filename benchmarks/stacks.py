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
from benchmarks.rounds import Pairs, alternate
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


FULL = Sizes(rounds=4, counts=(1, 10, 100))
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


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two stacks to be made in turns, and how the figures are called.

    ``floor`` and ``subject`` lay a project out in a folder that is not there yet. ``timed`` is the
    step that has the goal.
    """

    benchmark: str
    command: str
    floor: Callable[[Path, int], Stack]
    subject: Callable[[Path, StackSite], Stack]
    floor_name: str = "the same command on as many dynamic resources that do nothing"
    timed: str = "up"
    goal: Goal = PULUMI_GOAL


def measure(comparison: Comparison, *, scratch: Path, sizes: Sizes) -> list[Figure]:
    """Each number of attachments; every step of the largest, of the others the one ``timed``."""
    figures: list[Figure] = []
    with engine_process(scratch / "engine" / "state") as engine, engine.client() as client:
        remote_site.add_image(client, "web", folder=scratch)
        for count in sizes.counts:
            site = _site(engine, client, count=count)
            below = comparison.floor(scratch / f"nothing-{count}", count)
            above = comparison.subject(scratch / f"attachments-{count}", site)
            pairs = _in_turns(below, above, client, site, rounds=sizes.rounds)
            if count == max(sizes.counts):
                steps = tuple(pairs.floor[0])
                goal = comparison.goal
            else:
                steps, goal = (comparison.timed,), NO_GOAL
            figures += _figures(comparison, pairs, site, steps=steps, goal=goal)
    return figures


def _in_turns(
    below: Stack, above: Stack, client: EngineClient, site: StackSite, *, rounds: int
) -> Pairs[Steps]:
    return alternate(
        rounds=rounds,
        floor=lambda _number: below.go_through(),
        subject=lambda _number: _attach_all(above, client, site),
    )


def _figures(
    comparison: Comparison,
    pairs: Pairs[Steps],
    site: StackSite,
    *,
    steps: Sequence[str],
    goal: Goal,
) -> list[Figure]:
    many = f"{site.count} attachment{'' if site.count == 1 else 's'}"
    return [
        Figure(
            benchmark=comparison.benchmark,
            name=f"{comparison.command} {step}, {many}",
            unit="s",
            floor_name=comparison.floor_name,
            floor=[each[step] for each in pairs.floor],
            subject=[each[step] for each in pairs.subject],
            goal=goal if step == comparison.timed else NO_GOAL,
        )
        for step in steps
    ]


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
