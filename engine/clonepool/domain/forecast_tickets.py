"""The tickets that hold some of a pool's stock, as a forecast goes on."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from clonepool.domain.forecast import TicketView


class Claim(Enum):
    """How a claim ends: with nothing, with a replica that is anybody's, or with a held one."""

    NONE = 0
    READY = 1
    HELD = 2


class Tickets:
    """Of one pool; ``plans`` is the plan's own, "" where it has none."""

    def __init__(self, views: Iterable[TicketView], *, plans: str) -> None:
        self._left = {view.ticket: view.remaining for view in views}
        self._plans = plans

    def total(self) -> int:
        """How many replicas are for tickets only."""
        return sum(self._left.values())

    def spares(self, *, ready: int, ahead: int, brings: bool) -> bool:
        """Whether one is left for a claim.

        Who brings the plan's ticket passes the queue, and only older tickets go before it.
        """
        if brings and self._left.get(self._plans):
            return ready > self._older()
        return ready > ahead + self.total()

    def claim(self, *, ready: int, ahead: int, brings: bool) -> Claim:
        """Take one, from the plan's ticket where it is brought and has something left."""
        if not self.spares(ready=ready, ahead=ahead, brings=brings):
            return Claim.NONE
        if brings and self._left.get(self._plans):
            self._left[self._plans] -= 1
            return Claim.HELD
        return Claim.READY

    def _older(self) -> int:
        before = 0
        for ticket, left in self._left.items():
            if ticket == self._plans:
                break
            before += left
        return before
