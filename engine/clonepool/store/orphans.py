"""Objects that no row accounts for, in quarantine until their time is over."""

from __future__ import annotations

from collections.abc import Iterable

from sqlmodel import Session, col, select

from clonepool.domain.drift import Orphan
from clonepool.domain.model import PageRequest
from clonepool.errors import InvalidArgument
from clonepool.store import tables
from clonepool.store.writer import Transaction

_KEEP = """
    INSERT INTO orphan(storage, name, size_bytes, used_bytes, first_seen_at, seen_at, waited_s,
        held)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (storage, name) DO UPDATE SET size_bytes = excluded.size_bytes,
        used_bytes = excluded.used_bytes, seen_at = excluded.seen_at,
        waited_s = excluded.waited_s, held = excluded.held
"""
# the names are made of the ids: a volume's generation, or a version's two portions
_HAS_ROW = """
    SELECT EXISTS (SELECT 1 FROM volume WHERE 'vol-' || id || '-g' || generation = :name)
        OR EXISTS (SELECT 1 FROM image_version WHERE :name IN ('img-' || id || '-ro',
            'img-' || id || '-rw'))
"""
_BETWEEN = "/"


def keep(transaction: Transaction, orphan: Orphan) -> None:
    """Put an object into quarantine, or note that it still is."""
    transaction.sql(
        _KEEP,
        (
            orphan.storage,
            orphan.name,
            orphan.size_bytes,
            orphan.used_bytes,
            orphan.first_seen_at,
            orphan.seen_at,
            orphan.waited_s,
            orphan.held,
        ),
    )


def forget(transaction: Transaction, *, storage: str, names: Iterable[str]) -> None:
    """Take objects off: they are gone, or have a row."""
    for name in names:
        transaction.sql("DELETE FROM orphan WHERE storage = ? AND name = ?", (storage, name))


def has_row(transaction: Transaction, *, name: str) -> bool:
    """Whether a row accounts for an object by now."""
    return bool(transaction.sql(_HAS_ROW, {"name": name}).fetchone()[0])


def of_storage(session: Session, *, storage: str) -> dict[str, Orphan]:
    """The quarantine of one storage, by name."""
    query = select(tables.Orphan).where(tables.Orphan.storage == storage)
    return {row.name: _orphan(row) for row in session.exec(query)}


def find(session: Session, *, storage: str, name: str) -> Orphan | None:
    """One object in quarantine."""
    row = session.get(tables.Orphan, (storage, name))
    return _orphan(row) if row else None


def list_page(session: Session, *, page: PageRequest) -> tuple[list[Orphan], str]:
    """By storage and name."""
    query = select(tables.Orphan).order_by(col(tables.Orphan.storage), col(tables.Orphan.name))
    if page.token:
        storage, separator, name = page.token.partition(_BETWEEN)
        if not separator:
            raise InvalidArgument.field("page_token", "is not one that this engine gave")
        later = (col(tables.Orphan.storage) == storage) & (col(tables.Orphan.name) > name)
        query = query.where((col(tables.Orphan.storage) > storage) | later)
    found = session.exec(query.limit(page.size)).all()
    last = found[-1] if len(found) == page.size else None
    token = f"{last.storage}{_BETWEEN}{last.name}" if last else ""
    return [_orphan(row) for row in found], token


def _orphan(row: tables.Orphan) -> Orphan:
    return Orphan(
        storage=row.storage,
        name=row.name,
        size_bytes=row.size_bytes,
        used_bytes=row.used_bytes,
        first_seen_at=row.first_seen_at,
        seen_at=row.seen_at,
        waited_s=row.waited_s,
        held=row.held,
    )
