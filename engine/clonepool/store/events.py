"""Events: appended in the transaction that they tell of, pruned by number."""

from __future__ import annotations

from sqlmodel import Session, col, select

from clonepool.domain.model import Event
from clonepool.domain.states import Severity
from clonepool.store import rows, tables
from clonepool.store.writer import Transaction

_KEEP = 50_000
_MESSAGE_LIMIT_CHARS = 2000
_INSERT = "INSERT INTO event(at, severity, subject, reason, message)"


def add(
    transaction: Transaction,
    *,
    now: float,
    subject: str,
    reason: str,
    message: str,
    severity: Severity = Severity.INFO,
) -> None:
    """Append one event."""
    # a path may hold bytes that are no text: they must not fail the changes that share the commit
    text = message[:_MESSAGE_LIMIT_CHARS].encode(errors="replace").decode().replace("\0", "?")
    row = (now, severity.value, subject, reason, text)
    transaction.append(_INSERT, row)


def list_after(session: Session, *, after_id: int, limit: int, subject_prefix: str) -> list[Event]:
    """Events after ``after_id``, oldest first."""
    query = (
        select(tables.Event)
        .where(col(tables.Event.n) > after_id)
        .order_by(col(tables.Event.n))
        .limit(limit)
    )
    if subject_prefix:
        query = query.where(col(tables.Event.subject).startswith(subject_prefix, autoescape=True))
    return [rows.event(row) for row in session.exec(query)]


def newest_id(session: Session) -> int:
    """The newest event's id, 0 when there is none."""
    return session.exec(select(tables.Event.n).order_by(col(tables.Event.n).desc())).first() or 0


def newest_at(session: Session) -> float | None:
    """When the newest event was, None when there is none."""
    return session.exec(select(tables.Event.at).order_by(col(tables.Event.n).desc())).first()


def prune(transaction: Transaction) -> None:
    """Forget the oldest."""
    transaction.sql(
        "DELETE FROM event WHERE n <= (SELECT coalesce(max(n), 0) FROM event) - ?", (_KEEP,)
    )
