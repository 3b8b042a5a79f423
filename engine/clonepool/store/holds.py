"""Holds: made, looked at, given back, expired. Taking by a ticket is ``store.allocation``'s.

A ticket's rows are one for each pool that it holds something of. A hold is over when its time is,
whether or not its rows are cleared away yet.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlmodel import Session

from clonepool.domain import holds as domain
from clonepool.domain.holds import HeldStock, Hold, Refused, Wanted
from clonepool.domain.model import PageRequest
from clonepool.errors import AlreadyExists, ClonepoolError, NotFound
from clonepool.store import events, pool_version
from clonepool.store.writer import Transaction

_STOCK = f"""
    SELECT p.id, p.max_replicas,
        (SELECT count(*) FROM volume WHERE pool_id = p.id AND state = 'ready'
            AND image_version_id = {pool_version.ID}),
        (SELECT coalesce(sum(remaining), 0) FROM hold
            WHERE pool_id = p.id AND remaining > 0 AND expires_at > :now),
        (SELECT count(*) FROM attachment WHERE pool_id = p.id AND state = 'waiting'),
        (SELECT count(*) FROM hold WHERE pool_id = p.id AND remaining > 0 AND expires_at > :now)
    FROM pool p JOIN image i ON i.id = p.image_id
    WHERE p.name = :pool AND p.deleted_at IS NULL
"""  # noqa: S608 - texts of ours, values bound
_INSERT = """
    INSERT INTO hold(ticket, pool_id, count, remaining, owner, token, token_digest, created_at,
        expires_at)
    VALUES (:ticket, :pool_id, :count, :count, :owner, :token, :digest, :now, :until)
"""
_SELECT = """
    SELECT h.n, h.ticket, p.name, h.count, h.remaining, h.owner, h.created_at, h.expires_at
    FROM hold h JOIN pool p ON p.id = h.pool_id
"""
_HELD = """
    SELECT coalesce(sum(remaining), 0) FROM hold
    WHERE pool_id = ? AND remaining > 0 AND expires_at > ?
"""
_ACTIVE = "SELECT pool_id, ticket, remaining FROM hold WHERE remaining > 0 AND expires_at > ?"
# a page is of whole tickets, each at the place of its first row
_PAGE = """
    SELECT ticket, min(n) FROM hold
    WHERE expires_at > :now AND (:pool = '' OR ticket IN (
        SELECT h.ticket FROM hold h JOIN pool p ON p.id = h.pool_id WHERE p.name = :pool))
    GROUP BY ticket HAVING min(n) > :after ORDER BY min(n) LIMIT :size
"""
_EXPIRED = f"{_SELECT} WHERE h.expires_at <= ? ORDER BY h.n"
# a clock that was set back would keep a hold for so much longer
_FROM_THE_FUTURE = """
    UPDATE hold SET expires_at = :now + (expires_at - created_at), created_at = :now
    WHERE created_at > :now
"""


@dataclass(frozen=True, kw_only=True)
class Request:
    """A hold as asked for. ``partial``: pools that can't be held are left out, not refused."""

    wanted: tuple[Wanted, ...]
    duration_s: float
    owner: str
    token: str
    digest: str
    partial: bool
    limits: domain.Limits
    now: float


def create(transaction: Transaction, request: Request) -> Hold:
    """Hold what is asked for, or find what the same request made before. Errors: see CreateHold."""
    known = _of_token(transaction, request)
    if known is not None:
        return known
    ticket = str(uuid.uuid4())
    refused = []
    errors: list[ClonepoolError] = []
    for wanted in request.wanted:
        try:
            _add(transaction, request, ticket=ticket, wanted=wanted)
        except ClonepoolError as error:
            if not request.partial:
                raise
            errors.append(error)
            refused.append(
                Refused(pool=wanted.pool, reason=error.reason or "NOT_FOUND", text=str(error))
            )
    if errors and len(errors) == len(request.wanted):
        raise errors[0]
    made = replace(_get(transaction, ticket), refused=tuple(refused))
    who = f" for {made.owner}" if made.owner else ""
    text = f"{_described(made)}{who}, for {round(request.duration_s)} s"
    _tell(transaction, ticket=ticket, reason="HOLD_CREATED", message=text, now=request.now)
    return made


def _of_token(transaction: Transaction, request: Request) -> Hold | None:
    """The live ticket of the same token. One that is over is no more than a memory."""
    row = transaction.sql(
        "SELECT ticket, token_digest FROM hold WHERE token = ? AND expires_at > ? LIMIT 1",
        (request.token, request.now),
    ).fetchone()
    if row is None:
        return None
    if row[1] != request.digest:
        text = f"ticket {row[0]} was made by this token for something else; take another token"
        raise AlreadyExists(text, reason="HOLD_TOKEN", metadata={"id": row[0]})
    found = _get(transaction, row[0])
    held = {stock.pool for stock in found.pools}
    refused = [
        Refused(pool=wanted.pool, reason="HOLD_REFUSED", text="it was not held at that time")
        for wanted in request.wanted
        if wanted.pool not in held
    ]
    return replace(found, refused=tuple(refused))


def _add(transaction: Transaction, request: Request, *, ticket: str, wanted: Wanted) -> None:
    row = transaction.sql(_STOCK, {"pool": wanted.pool, "now": request.now}).fetchone()
    if row is None:
        text = f"there is no pool {wanted.pool}; `clonepool pool list` shows what there is"
        raise NotFound(text, reason="NOT_FOUND")
    stock = domain.PoolStock(
        max_replicas=row[1], ready=row[2], held=row[3], waiting=row[4], tickets=row[5]
    )
    domain.check(wanted, stock, request.limits)
    values = {
        "ticket": ticket,
        "pool_id": row[0],
        "count": wanted.count,
        "owner": request.owner,
        "token": request.token,
        "digest": request.digest,
        "now": request.now,
        "until": request.now + request.duration_s,
    }
    transaction.sql(_INSERT, values)


def get(session: Session, *, ticket: str, now: float) -> Hold:
    """One ticket, used up or not. Raises NotFound where its time is over."""
    found = _grouped(_query(session, f"{_SELECT} WHERE h.ticket = ? ORDER BY h.n", (ticket,)))
    if not found or found[0].expires_at <= now:
        text = (
            f"there is no ticket {ticket}: it expired, was released, or never was; "
            "`clonepool hold list` shows what there is"
        )
        raise NotFound(text, reason="NOT_FOUND")
    return found[0]


def list_page(
    session: Session, *, page: PageRequest, pool: str, now: float
) -> tuple[list[Hold], str]:
    """Tickets that are not over, oldest first; ``pool`` is a name, "" for all."""
    connection = session.connection()
    values = {"now": now, "pool": pool, "after": page.row(), "size": page.size}
    tickets = connection.exec_driver_sql(_PAGE, values).all()
    found = []
    for ticket, _n in tickets:
        rows = _query(session, f"{_SELECT} WHERE h.ticket = ? ORDER BY h.n", (ticket,))
        found += _grouped(rows)
    token = str(tickets[-1][1]) if len(tickets) == page.size else ""
    return found, token


def held_of(session: Session, *, pool_id: str, now: float) -> int:
    """How many of a pool's ready replicas are for tickets only."""
    found = session.connection().exec_driver_sql(_HELD, (pool_id, now))
    return int(found.scalar_one())


def active(session: Session, *, now: float) -> list[tuple[str, str, int]]:
    """Pool's id, ticket and what is left, of each hold that has something left, oldest first."""
    found = session.connection().exec_driver_sql(f"{_ACTIVE} ORDER BY n", (now,))
    return [(row[0], row[1], row[2]) for row in found]


def release(transaction: Transaction, *, ticket: str, now: float) -> None:
    """Give back what a ticket still holds; one that is over or unknown is no error."""
    rows = transaction.sql(f"{_SELECT} WHERE h.ticket = ? ORDER BY h.n", (ticket,)).fetchall()
    for hold in _grouped(rows):
        if hold.expires_at <= now:
            continue  # it expired: `tidy` tells of it
        transaction.sql("DELETE FROM hold WHERE ticket = ?", (ticket,))
        text = f"gave back {_left(hold)}"
        _tell(transaction, ticket=ticket, reason="HOLD_RELEASED", message=text, now=now)


def end_of_pool(transaction: Transaction, *, pool_id: str, pool: str, now: float) -> None:
    """A pool is deleted: nobody can take anything of it any more."""
    found = transaction.sql(
        "DELETE FROM hold WHERE pool_id = ? RETURNING ticket, remaining, expires_at > ?",
        (pool_id, now),
    ).fetchall()
    for ticket, remaining, lives in found:
        if remaining and lives:
            text = f"pool {pool} was deleted, and with it the {remaining} replicas held of it"
            _tell(transaction, ticket=ticket, reason="HOLD_RELEASED", message=text, now=now)


def has_work(session: Session, *, now: float) -> bool:
    """Whether any hold is over, or of a time that has not come."""
    sql = "SELECT 1 FROM hold WHERE expires_at <= ? OR created_at > ? LIMIT 1"
    return session.connection().exec_driver_sql(sql, (now, now)).first() is not None


def tidy(transaction: Transaction, *, now: float) -> None:
    """Clear away what is over; after the clock was set back, a hold lasts as long as it did."""
    transaction.sql(_FROM_THE_FUTURE, {"now": now})
    for hold in _grouped(transaction.sql(_EXPIRED, (now,)).fetchall()):
        transaction.sql("DELETE FROM hold WHERE ticket = ?", (hold.id,))
        if hold.remaining:
            text = f"its time is over, with {_left(hold)} not taken"
            _tell(transaction, ticket=hold.id, reason="HOLD_EXPIRED", message=text, now=now)


def _get(transaction: Transaction, ticket: str) -> Hold:
    rows = transaction.sql(f"{_SELECT} WHERE h.ticket = ? ORDER BY h.n", (ticket,)).fetchall()
    return _grouped(rows)[0]


def _query(session: Session, sql: str, parameters: tuple[Any, ...]) -> Sequence[Any]:
    return session.connection().exec_driver_sql(sql, parameters).all()


def _grouped(rows: Sequence[Any]) -> list[Hold]:
    """Tickets of their rows, in the order of the first of each."""
    tickets: dict[str, list[Any]] = {}
    for row in rows:
        tickets.setdefault(row[1], []).append(row)
    return [
        Hold(
            id=ticket,
            owner=its[0][5],
            pools=tuple(HeldStock(pool=row[2], count=row[3], remaining=row[4]) for row in its),
            created_at=its[0][6],
            expires_at=its[0][7],
        )
        for ticket, its in tickets.items()
    ]


def _described(hold: Hold) -> str:
    return ", ".join(f"{stock.count} of pool {stock.pool}" for stock in hold.pools)


def _left(hold: Hold) -> str:
    return ", ".join(
        f"{stock.remaining} of {stock.count} of pool {stock.pool}" for stock in hold.pools
    )


def _tell(transaction: Transaction, *, ticket: str, reason: str, message: str, now: float) -> None:
    events.add(transaction, now=now, subject=f"hold/{ticket}", reason=reason, message=message)
