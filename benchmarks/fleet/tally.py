"""What a day was like: misses, waits, backlogs by the hour, and where the first limit lay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.figures import percentile
from benchmarks.fleet.resources import Resource

HOUR_S = 3600.0


@dataclass(kw_only=True)
class Hour:
    """One hour. A miss is a server that found no ready replica and had to wait for one."""

    servers: int = 0
    misses: int = 0
    refused: int = 0
    waits_s: list[float] = field(default_factory=list)
    clones: int = 0  # the longest queue of clones that was seen
    scrubs: int = 0  # the same of scrubs
    released: int = 0
    starved: int = 0  # looks at which a pool had waiters, and max_replicas kept it from more

    def document(self) -> dict[str, Any]:
        """As it is printed and kept."""
        waits_ms = [wait * 1000 for wait in self.waits_s] or [0.0]
        return {
            "servers": self.servers,
            "misses": self.misses,
            "refused": self.refused,
            "p50_ms": percentile(waits_ms, 0.5),
            "p99_ms": percentile(waits_ms, 0.99),
            "most_ms": max(waits_ms),
            "clone_backlog": self.clones,
            "scrub_backlog": self.scrubs,
            "released": self.released,
            "starved": self.starved,
        }


class Tally:
    """The hours of a day; ``hour`` gives the one of a time after midnight."""

    def __init__(self) -> None:
        self.hours: list[Hour] = []
        self.first_starved: float | None = None

    def hour(self, at_s: float) -> Hour:
        """The hour of this time."""
        while len(self.hours) <= int(at_s // HOUR_S):
            self.hours.append(Hour())
        return self.hours[int(at_s // HOUR_S)]

    def starved(self, at_s: float) -> None:
        """A pool may not have the replicas that its waiters need."""
        self.hour(at_s).starved += 1
        if self.first_starved is None:
            self.first_starved = at_s

    def total(self) -> Hour:
        """The whole day."""
        return Hour(
            servers=sum(hour.servers for hour in self.hours),
            misses=sum(hour.misses for hour in self.hours),
            refused=sum(hour.refused for hour in self.hours),
            waits_s=[wait for hour in self.hours for wait in hour.waits_s],
            clones=max((hour.clones for hour in self.hours), default=0),
            scrubs=max((hour.scrubs for hour in self.hours), default=0),
            released=max((hour.released for hour in self.hours), default=0),
            starved=sum(hour.starved for hour in self.hours),
        )


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A thing that had no time (or room) left, and when that was first so."""

    name: str
    at_s: float

    def __str__(self) -> str:
        return f"{self.name}, first at {clock(self.at_s)}"


def limits(resources: Sequence[Resource], tally: Tally) -> list[Limit]:
    """What came to its end in the day, the first first."""
    found = [
        Limit(name=each.name, at_s=each.first_full)
        for each in resources
        if each.first_full is not None
    ]
    if tally.first_starved is not None:
        found.append(Limit(name="max_replicas of a pool", at_s=tally.first_starved))
    return sorted(found, key=lambda limit: limit.at_s)


def nearest(resources: Sequence[Resource]) -> Resource:
    """What had the least time left in its busiest minute: the limit that comes first."""
    return max(resources, key=lambda resource: resource.busiest)


def clock(at_s: float) -> str:
    """A time of day."""
    minutes = int(at_s // 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of the same keys in columns, numbers to the right."""
    heads = list(rows[0])
    cells = [heads, *[[_cell(row[head]) for head in heads] for row in rows]]
    widths = [max(len(line[column]) for line in cells) for column in range(len(heads))]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in cells
    )


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
