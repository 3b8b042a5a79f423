"""A figure: what was measured in each round, beside its floor of the same round."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


class Skip(Exception):
    """A benchmark can't run here; the text says why."""


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What a figure shall reach: at most ``ratio`` times its floor, at most ``limit`` of its unit.

    ``text`` says the limit as the goal is spoken of, such as "> 1,000 a second".
    """

    ratio: float | None = None
    limit: float | None = None
    text: str = ""

    def __str__(self) -> str:
        parts = [] if self.ratio is None else [f"<= {self.ratio:g}x"]
        return ", ".join([*parts, self.text] if self.text else parts)


NO_GOAL = Goal()


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured thing. ``floor`` and ``subject`` have a value for each round, in ``unit``.

    Smaller is better, for all units. ``details`` are further numbers of the same rounds.
    """

    benchmark: str
    name: str
    unit: str
    floor_name: str
    floor: Sequence[float]
    subject: Sequence[float]
    goal: Goal = NO_GOAL
    details: Mapping[str, float] = field(default_factory=dict)
    note: str = ""

    @property
    def ratios(self) -> list[float]:
        """Subject by floor, round by round: load of the machine hits both alike."""
        return [subject / floor for subject, floor in zip(self.subject, self.floor, strict=True)]

    @property
    def is_met(self) -> bool | None:
        """Whether the goal is reached; None where there is none."""
        if self.goal.ratio is None and self.goal.limit is None:
            return None
        met = True
        if self.goal.ratio is not None:
            met = statistics.median(self.ratios) <= self.goal.ratio
        if self.goal.limit is not None:
            met = met and statistics.median(self.subject) <= self.goal.limit
        return met

    def document(self) -> dict[str, Any]:
        """As it is kept in JSON."""
        return {
            "benchmark": self.benchmark,
            "name": self.name,
            "unit": self.unit,
            "floor_name": self.floor_name,
            "floor": summary(self.floor),
            "subject": summary(self.subject),
            "ratio": summary(self.ratios),
            "goal": str(self.goal),
            "met": self.is_met,
            "details": {key: rounded(value) for key, value in self.details.items()},
            "note": self.note,
        }


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Median, spread and every round."""
    return {
        "median": rounded(statistics.median(values)),
        "least": rounded(min(values)),
        "most": rounded(max(values)),
        "rounds": [rounded(value) for value in values],
    }


def rounded(value: float) -> float:
    """Four significant digits: more would be noise."""
    return float(f"{value:.4g}")


def percentile(values: Sequence[float], fraction: float) -> float:
    """The smallest value that at least ``fraction`` of the values don't exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * fraction))]
