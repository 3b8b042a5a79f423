"""The same operation from 1, 8 and 64 callers, floor and subject alternating at each number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from benchmarks.figures import Figure, Goal
from benchmarks.rounds import Burst, Pairs, alternate, latency_details

ATTACH_GOAL = Goal(ratio=2.0)
# the goal is a thousand allocations a second with 64 callers: a millisecond for each
BUSY_ATTACH_GOAL = Goal(ratio=2.0, limit=1.0, text="> 1,000/s")
BUSY_CALLERS = 64


class Side(Protocol):
    """The floor, or what is held against it."""

    def __call__(self, *, callers: int, first: int, count: int) -> Burst:
        """Do the operations ``first`` to ``first + count - 1``."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How many rounds, and how many operations a round for each number of callers."""

    rounds: int
    operations: Mapping[int, int]

    @property
    def total(self) -> int:
        """Replicas that are needed, so that none has to be made meanwhile."""
        return self.rounds * sum(self.operations.values())


@dataclass(frozen=True, kw_only=True)
class _Level:
    """One number of callers; its operations are numbered from ``first``."""

    callers: int
    first: int
    count: int

    def run(self, side: Side, number: int) -> Burst:
        return side(callers=self.callers, first=self.first + number * self.count, count=self.count)


def by_callers(sizes: Sizes, *, floor: Side, subject: Side) -> Iterator[tuple[int, Pairs[Burst]]]:
    """Measure each number of callers in turn; yields it with what its rounds gave."""
    first = 0
    for callers, count in sizes.operations.items():
        level = _Level(callers=callers, first=first, count=count)
        yield (
            callers,
            alternate(
                rounds=sizes.rounds,
                floor=partial(level.run, floor),
                subject=partial(level.run, subject),
            ),
        )
        first += sizes.rounds * count


def attach_goal(callers: int) -> Goal:
    """What attaching from so many callers shall reach."""
    return BUSY_ATTACH_GOAL if callers == BUSY_CALLERS else ATTACH_GOAL


def figure(
    *, benchmark: str, name: str, callers: int, pairs: Pairs[Burst], floor_name: str, goal: Goal
) -> Figure:
    """Time for one operation at the rate that all callers reached together."""
    return Figure(
        benchmark=benchmark,
        name=f"{name}, {callers} caller{'' if callers == 1 else 's'}",
        unit="ms",
        floor_name=floor_name,
        floor=[each.each_ms for each in pairs.floor],
        subject=[each.each_ms for each in pairs.subject],
        goal=goal,
        details=latency_details(pairs),
    )
