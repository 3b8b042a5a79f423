"""Holds in memory with the controllers' signatures, for tests of the service and the CLI."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clonepool.domain.holds import HeldStock, Hold, Refused, Wanted
from clonepool.domain.model import PageRequest
from clonepool.errors import ClonepoolError, NotFound, ResourceExhausted
from tests.service.fake_values import NOW

SPENT = "ticket spent is used up: its 3 of pool web are taken"


class FakeHolds:
    """Each pool can spare ``spare`` replicas to each ticket; ``fail`` makes the next call raise."""

    def __init__(self) -> None:
        self.spare = 5
        self.made: dict[str, Hold] = {}
        self.calls: list[tuple[str, Any]] = []
        self.fail: ClonepoolError | None = None

    def create(
        self,
        *,
        wanted: Sequence[Wanted],
        duration_s: float,
        owner: str,
        token: str,
        partial: bool = False,
    ) -> Hold:
        self.calls.append(("create", tuple(wanted)))
        if self.fail is not None:
            raise self.fail
        if token in self.made:
            return self.made[token]
        good = [each for each in wanted if each.count <= self.spare]
        if not good or (len(good) < len(wanted) and not partial):
            raise ResourceExhausted(f"only {self.spare} to hold", reason="HOLD_STOCK")
        hold = Hold(
            id=f"ticket-{len(self.made) + 1}",
            owner=owner,
            pools=tuple(
                HeldStock(pool=each.pool, count=each.count, remaining=each.count) for each in good
            ),
            created_at=NOW,
            expires_at=NOW + duration_s,
            refused=tuple(
                Refused(pool=each.pool, reason="HOLD_STOCK", text=f"only {self.spare} to hold")
                for each in wanted
                if each not in good
            ),
        )
        self.made[token] = hold
        return hold

    def get(self, *, ticket: str) -> Hold:
        self.calls.append(("get", ticket))
        for hold in self.made.values():
            if hold.id == ticket:
                return hold
        raise NotFound(f"there is no ticket {ticket}", reason="NOT_FOUND")

    def list(self, *, page: PageRequest, pool: str = "") -> tuple[Sequence[Hold], str]:
        self.calls.append(("list", pool))
        found = [
            hold
            for hold in self.made.values()
            if not pool or pool in [stock.pool for stock in hold.pools]
        ]
        return found, ""

    def release(self, *, ticket: str) -> None:
        self.calls.append(("release", ticket))
        self.made = {token: hold for token, hold in self.made.items() if hold.id != ticket}
