"""What a fleet's work has to queue for: each thing does one piece of work after the other."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

MINUTE_S = 60.0
# where a queue of this length is found, whoever comes waits for others and not for his own work
FULL_SHARE = 0.95


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Seconds that a thing is busy with a piece of work. docs/scale.md says whence each comes.

    ``attach_s`` to ``work_s`` (the claim and the end of an operation) are the database's,
    ``clone_s`` and ``delete_s`` one storage's with all its workers at it; ``latency_s`` is what one
    verb takes at least. ``look_s`` is what the planner computes for one pool.
    """

    attach_s: float = 0.0009
    release_s: float = 0.0017
    work_s: float = 0.0010
    poll_s: float = 0.0003
    clone_s: float = 1 / 65
    delete_s: float = 1 / 33
    latency_s: float = 0.03
    look_s: float = 0.003


@dataclass(kw_only=True)
class Resource:
    """First come, first served; knows how busy it was in each minute."""

    name: str
    free_at: float = 0.0
    longest_s: float = 0.0
    busy_s: defaultdict[int, float] = field(default_factory=lambda: defaultdict(float))

    def use(self, *, at: float, seconds: float) -> float:
        """Queue at ``at`` for so much work; returns when it is done."""
        begins = max(at, self.free_at)
        self.longest_s = max(self.longest_s, begins - at)
        self.free_at = begins + seconds
        self._note(begins, seconds)
        return self.free_at

    def _note(self, begins: float, seconds: float) -> None:
        while seconds > 0:
            minute = int(begins // MINUTE_S)
            part = min(seconds, (minute + 1) * MINUTE_S - begins) or seconds
            self.busy_s[minute] += part
            begins, seconds = begins + part, seconds - part

    def share(self, minute: int) -> float:
        """How much of a minute it was busy."""
        return self.busy_s[minute] / MINUTE_S if minute in self.busy_s else 0.0

    @property
    def busiest(self) -> float:
        """Of its busiest minute."""
        return max(self.busy_s.values(), default=0.0) / MINUTE_S

    @property
    def first_full(self) -> float | None:
        """When it first had no time left in a whole minute; None where it never came to that."""
        full = [at for at, busy in self.busy_s.items() if busy >= FULL_SHARE * MINUTE_S]
        return min(full) * MINUTE_S if full else None
