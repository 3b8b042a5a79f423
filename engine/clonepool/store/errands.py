"""Errands in the rows: asked for at one node, done at another, heard of at the first."""

from __future__ import annotations

from collections.abc import Sequence

from sqlmodel import Session, col, select

from clonepool.domain.errands import Errand, ErrandKind, Outcome
from clonepool.store.node_tables import Errand as Row
from clonepool.store.writer import Transaction

# what ended longer ago was for a caller who has gone
_FRESH_S = 30.0
_AT_ONCE = 64
_ASK = """
    INSERT INTO errand(kind, attachment_id, node, force, state, error_kind, reason, error,
        asked_at, ended_at)
    VALUES (:kind, :id, :node, :force, 'asked', '', '', '', :now, 0)
    ON CONFLICT (kind, attachment_id) DO UPDATE SET node = excluded.node, force = excluded.force,
        state = 'asked', error_kind = '', reason = '', error = '', asked_at = excluded.asked_at
"""


def ask(transaction: Transaction, errand: Errand, *, node: str, now: float) -> Outcome | None:
    """Ask a node, unless it was asked; None until it has answered. Each answer is given once."""
    key = (errand.kind.value, errand.attachment_id)
    row = transaction.sql(
        "SELECT state, error_kind, reason, error, ended_at, node, force FROM errand "
        "WHERE kind = ? AND attachment_id = ?",
        key,
    ).fetchone()
    asked_already = row is not None and row[0] == "asked" and row[5] == node
    if asked_already and bool(row[6]) >= errand.force:
        return None
    if row is not None and row[0] != "asked" and abs(now - row[4]) < _FRESH_S:
        transaction.sql("DELETE FROM errand WHERE kind = ? AND attachment_id = ?", key)
        return Outcome(error_kind=row[1], reason=row[2], error=row[3])
    values = {
        "kind": errand.kind.value,
        "id": errand.attachment_id,
        "node": node,
        "force": errand.force,
        "now": now,
    }
    transaction.sql(_ASK, values)
    return None


def asked_of(session: Session, *, node: str) -> Sequence[Errand]:
    """What a node is asked to do, the oldest first."""
    query = (
        select(Row)
        .where(Row.node == node, Row.state == "asked")
        .order_by(col(Row.asked_at))
        .limit(_AT_ONCE)
    )
    return [
        Errand(kind=ErrandKind(row.kind), attachment_id=row.attachment_id, force=bool(row.force))
        for row in session.exec(query)
    ]


def answer(transaction: Transaction, errand: Errand, outcome: Outcome, *, now: float) -> None:
    """Say how it ended. What shows in the attachment's own row needs no answer."""
    key = (errand.kind.value, errand.attachment_id)
    if not outcome.error_kind and errand.kind is not ErrandKind.LOOK:
        transaction.sql("DELETE FROM errand WHERE kind = ? AND attachment_id = ?", key)
        return
    transaction.sql(
        "UPDATE errand SET state = ?, error_kind = ?, reason = ?, error = ?, ended_at = ? "
        "WHERE kind = ? AND attachment_id = ?",
        (
            "refused" if outcome.error_kind else "done",
            outcome.error_kind,
            outcome.reason,
            outcome.error,
            now,
            *key,
        ),
    )


def prune(transaction: Transaction, *, now: float) -> None:
    """Forget the answers that nobody came for."""
    transaction.sql(
        "DELETE FROM errand WHERE state != 'asked' AND ended_at < ?", (now - 10 * _FRESH_S,)
    )
