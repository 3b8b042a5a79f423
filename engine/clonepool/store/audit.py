"""The audit's chain: one link appended in the transaction that it tells of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session

from clonepool.domain.audit import entry_hash, genesis, sealed
from clonepool.domain.content import canonical
from clonepool.store.writer import Transaction

_LAST = "SELECT n, hash FROM audit_entry ORDER BY n DESC LIMIT 1"
_ENGINE = "SELECT value FROM meta WHERE key = 'engine_id'"
_HOLDINGS = """
    SELECT v.id, v.generation, p.name, a.id, a.name, a.user_name, a.user_kind, s.name,
        v.last_allocated_at
    FROM volume v JOIN attachment a ON a.id = v.attachment_id JOIN pool p ON p.id = v.pool_id
        JOIN server s ON s.id = a.server_id
    WHERE NOT v.slot ORDER BY v.n
"""
# rows fetched at a time: a chain of millions must not be in memory at once
_AT_A_TIME = 500


def append(transaction: Transaction, *, kind: str, at: float, body: Mapping[str, Any]) -> str:
    """Append one entry and return its hash. The writer is one thread, so the chain is total."""
    row = transaction.sql(_LAST).fetchone()
    n, previous = (row[0] + 1, row[1]) if row else (1, genesis(_engine_id(transaction)))
    entry = sealed(n=n, previous=previous, kind=kind, body=body)
    link = entry_hash(entry)
    transaction.sql(
        "INSERT INTO audit_entry(n, at, body, hash) VALUES (?, ?, ?, ?)",
        (n, at, canonical(entry), link),
    )
    return link


def _engine_id(transaction: Transaction) -> str:
    row = transaction.sql(_ENGINE).fetchone()
    return str(row[0]) if row else ""


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """A part of the chain: from entry ``first`` to its end; ``previous`` is the hash before it."""

    first: int
    count: int
    previous: str
    head: str


def stretch(session: Session, *, since: float, engine_id: str) -> Stretch:
    """The entries written at ``since`` or later, to the newest that this snapshot has."""
    connection = session.connection()
    last = connection.exec_driver_sql(_LAST).first()
    if last is None:
        start = genesis(engine_id)
        return Stretch(first=1, count=0, previous=start, head=start)
    before = connection.exec_driver_sql(
        # entries are in the order of writing; a clock set back must not leave a hole
        "SELECT n, hash FROM audit_entry WHERE n < coalesce((SELECT min(n) FROM audit_entry "
        "WHERE at >= ?), (SELECT max(n) + 1 FROM audit_entry)) ORDER BY n DESC LIMIT 1",
        (since,),
    ).first()
    n, previous = before or (0, genesis(engine_id))
    return Stretch(first=n + 1, count=last[0] - n, previous=previous, head=last[1])


def bodies(session: Session, *, part: Stretch) -> Iterator[tuple[str, str]]:
    """Each entry's canonical JSON and hash, in order."""
    n, end = part.first, part.first + part.count
    while n < end:
        found = session.connection().exec_driver_sql(
            "SELECT body, hash FROM audit_entry WHERE n >= ? AND n < ? ORDER BY n LIMIT ?",
            (n, end, _AT_A_TIME),
        )
        page = [(str(body), str(link)) for body, link in found]
        if not page:
            return
        yield from page
        n += len(page)


def holdings(session: Session) -> Iterator[dict[str, Any]]:
    """Who has which volume now."""
    for row in session.connection().exec_driver_sql(_HOLDINGS):
        yield {
            "volume": row[0],
            "generation": row[1],
            "pool": row[2],
            "attachment": row[3],
            "attachment_name": row[4],
            "system_user": {"name": row[5], "kind": row[6]},
            "server": row[7],
            "allocated_at": row[8],
        }
