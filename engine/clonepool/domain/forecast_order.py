"""In which order a plan makes things, and what it does not make because something else fails."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from clonepool.domain.forecast import (
    Attach,
    Change,
    Made,
    PutImage,
    PutPool,
    PutServer,
    Remove,
)
from clonepool.domain.forecast_servers import Refusal

# what others need comes first, where nothing else is said
_KINDS: Final = (PutImage, PutPool, PutServer, Attach)


class Order:
    """Which changes may come next, by their index in ``made``.

    Attachments come when nothing else is left that can come before them.
    """

    def __init__(self, changes: Sequence[Change]) -> None:
        self.made = made = [each for each in changes if not isinstance(each, Remove)]
        self._left = Counter(each.key for each in made if each.key)
        self._before = [
            {key for key in each.after if self._left[key] and key != each.key} for each in made
        ]
        self._behind: dict[str, list[int]] = defaultdict(list)
        for index, keys in enumerate(self._before):
            for key in keys:
                self._behind[key].append(index)
        self._ranks = [(_KINDS.index(type(each)), index) for index, each in enumerate(made)]
        self._ready = sorted(rank for rank in self._ranks if not self._before[rank[1]])
        self._begun = set(self._ready)
        self._all = iter(sorted(self._ranks))

    def next(self) -> list[int]:
        """One thing that is made, or all attachments that may come now; [] where none may."""
        if not self._ready:
            return []
        if self._ready[0][0] < _KINDS.index(Attach):
            return [heapq.heappop(self._ready)[1]]
        stage = [index for _, index in sorted(self._ready)]
        self._ready.clear()
        return stage

    def cut(self) -> bool:
        """Let one come that is held up by a circle, which no tool's plan has; False: all came."""
        held_up = next((rank for rank in self._all if rank not in self._begun), None)
        if held_up is None:
            return False
        self._begin(held_up)
        return True

    def done(self, stage: Iterable[int]) -> None:
        """They are made, or failed: what comes after them may come."""
        for key in (self.made[index].key for index in stage):
            self._left[key] -= 1
            for index in self._behind[key] if key and not self._left[key] else ():
                self._before[index].discard(key)
                if not self._before[index]:
                    self._begin(self._ranks[index])

    def _begin(self, rank: tuple[int, int]) -> None:
        if rank not in self._begun:
            self._begun.add(rank)
            heapq.heappush(self._ready, rank)


class Failed:
    """What was not made, by key; each with the thing whose failure is the cause of it."""

    def __init__(self) -> None:
        self._causes: dict[str, str] = {}

    def note(self, change: Made, *, subject: str) -> None:
        """It was not made: of its own, or because of one before it."""
        if change.key:
            self._causes.setdefault(change.key, self.cause(change) or subject.replace("/", " ", 1))

    def cause(self, change: Made) -> str:
        """The thing because of which it can't be made; "" where it can."""
        found = sorted((change.after - {change.key}) & self._causes.keys())
        return self._causes[found[0]] if found else ""

    def refusal(self, change: Made) -> Refusal | None:
        """Why it is not made, where something before it fails."""
        cause = self.cause(change)
        if not cause:
            return None
        there = not isinstance(change, Attach) and not change.create
        verb = "changed" if there else "made"
        text = f"not {verb}: {cause} fails; mend that first"
        return Refusal(reason="DEPENDENCY_FAILS", text=text)
