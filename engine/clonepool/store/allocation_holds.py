"""Whose turn it is: whom a claim lets pass, by its place in the queue or by a ticket."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from clonepool.store.writer import Transaction

_LAST_N: Final = 2**62
AHEAD: Final = """(
            SELECT count(*) FROM attachment AS ahead
            WHERE ahead.pool_id = :pool AND ahead.state = 'waiting' AND ahead.n < :place
                AND ahead.lease_until > :now) + (
            SELECT coalesce(sum(remaining), 0) FROM hold
            WHERE pool_id = :pool AND remaining > 0 AND expires_at > :now AND n < :hold)"""
"""How many ready replicas of ``:pool`` are meant for others: who waits ahead, who holds a ticket.

Of a claim's ``Turn`` it takes ``:place`` and ``:hold``.
"""
_FIND = """
    SELECT h.n, h.remaining, h.count, h.expires_at > :now, p.name, h.pool_id = :pool
    FROM hold h JOIN pool p ON p.id = h.pool_id WHERE h.ticket = :ticket ORDER BY h.n
"""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """A claim skips the waiters before ``place`` and what the holds before ``hold`` keep.

    ``note`` is why a ticket that was brought is no use; ``by_ticket`` where it is.
    """

    place: int = _LAST_N
    hold: int = _LAST_N
    by_ticket: bool = False
    note: str = ""


def turn(
    transaction: Transaction, *, ticket: str, pool_id: str, now: float, place: int = _LAST_N
) -> Turn:
    """Where a claim stands: as anyone with this place, or by a ticket that has something left.

    What is held is no longer anybody else's, so a ticket stands in no queue; only older tickets
    go before it, where a pool has lost so much stock that not all of them can be served.
    """
    if not ticket:
        return Turn(place=place)
    rows = transaction.sql(_FIND, {"ticket": ticket, "pool": pool_id, "now": now}).fetchall()
    for n, remaining, _count, lives, _pool, is_here in rows:
        if is_here and lives and remaining:
            return Turn(place=0, hold=n, by_ticket=True)
    return Turn(place=place, note=f"ticket {ticket} {_why_not(rows)}")


def _why_not(rows: list[tuple[int, int, int, int, str, int]]) -> str:
    if not rows:
        return "is not known here: it expired, was released, or never was"
    if not rows[0][3]:
        return "has expired"
    for _n, _remaining, count, _lives, pool, is_here in rows:
        if is_here:
            return f"is used up: its {count} of pool {pool} are taken"
    return f"is for other pools: {', '.join(row[4] for row in rows)}"


def use(transaction: Transaction, taken_by: Turn) -> int:
    """Take one from the ticket; what is left of it in this pool."""
    sql = "UPDATE hold SET remaining = remaining - 1 WHERE n = ? RETURNING remaining"
    return int(transaction.sql(sql, (taken_by.hold,)).fetchone()[0])
