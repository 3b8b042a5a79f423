"""Attach and release from 1, 8 and 64 callers, floor and subject alternating in each round.

A round begins with as many exports as it needs and ends with none: tgtd takes ever longer for an
account the more it has (0.3 ms at 100, 5 ms at 2,000), which would be all that is seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from benchmarks.figures import NO_GOAL, Figure, Goal
from benchmarks.rounds import Burst, Pairs, latency_details

ATTACH_GOAL = Goal(ratio=2.0)
# the goal is a thousand allocations a second with 64 callers: a millisecond for each
BUSY_ATTACH_GOAL = Goal(ratio=2.0, limit=1.0, text="> 1,000/s")
BUSY_CALLERS = 64


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How many rounds, and how many operations a round for each number of callers."""

    rounds: int
    operations: Mapping[int, int]


FULL = Sizes(rounds=7, operations={1: 60, 8: 120, 64: 256})
QUICK = Sizes(rounds=3, operations={1: 25, 8: 48, 64: 128})
SMOKE = Sizes(rounds=2, operations={1: 2, 4: 8})


@dataclass(frozen=True, kw_only=True)
class Order:
    """Operations ``first`` to ``first + count - 1``, by so many callers side by side."""

    callers: int
    first: int
    count: int


class Side(Protocol):
    """The floor, or the engine that is held against it."""

    def prepare(self, count: int) -> None:
        """Have exactly so many exports ready, and nothing going on."""

    def attach(self, order: Order) -> Burst:
        """Attach each."""

    def settle(self) -> None:
        """See to it that a release is followed by nothing."""

    def release(self, order: Order) -> Burst:
        """Release each."""


@dataclass(frozen=True, kw_only=True)
class _Level:
    """What one number of callers measured."""

    callers: int
    attach: Pairs[Burst]
    release: Pairs[Burst]


def measure(
    *,
    benchmark: str,
    how: str,
    sizes: Sizes,
    floor: Side,
    subject: Side,
    attach_floor: str,
    release_floor: str,
) -> list[Figure]:
    """Every number of callers in turn; first the figures of attaching."""
    levels, first = [], 0
    for callers, count in sizes.operations.items():
        orders = [
            Order(callers=callers, first=first + number * count, count=count)
            for number in range(sizes.rounds)
        ]
        levels.append(_level(floor, subject, orders))
        first += sizes.rounds * count
    attach = [
        _figure(benchmark, f"attach, {how}", level.callers, level.attach, attach_floor)
        for level in levels
    ]
    release = [
        _figure(benchmark, f"release, {how}", level.callers, level.release, release_floor)
        for level in levels
    ]
    return attach + release


def _level(floor: Side, subject: Side, orders: Sequence[Order]) -> _Level:
    attach: dict[Side, list[Burst]] = {floor: [], subject: []}
    release: dict[Side, list[Burst]] = {floor: [], subject: []}
    for number, order in enumerate(orders):
        # who is first changes, so that drift favours neither
        sides = (subject, floor) if number % 2 else (floor, subject)
        for side in sides:
            side.prepare(order.count)
        for side in sides:
            attach[side].append(side.attach(order))
        for side in sides:
            side.settle()
        for side in sides:
            release[side].append(side.release(order))
    return _Level(
        callers=orders[0].callers,
        attach=Pairs(floor=attach[floor], subject=attach[subject]),
        release=Pairs(floor=release[floor], subject=release[subject]),
    )


def _figure(
    benchmark: str, name: str, callers: int, pairs: Pairs[Burst], floor_name: str
) -> Figure:
    """Time for one operation at the rate that all callers reached together."""
    return Figure(
        benchmark=benchmark,
        name=f"{name}, {callers} caller{'' if callers == 1 else 's'}",
        unit="ms",
        floor_name=floor_name,
        floor=[each.each_ms for each in pairs.floor],
        subject=[each.each_ms for each in pairs.subject],
        goal=_goal(callers) if name.startswith("attach") else NO_GOAL,
        details=latency_details(pairs),
    )


def _goal(callers: int) -> Goal:
    return BUSY_ATTACH_GOAL if callers == BUSY_CALLERS else ATTACH_GOAL
