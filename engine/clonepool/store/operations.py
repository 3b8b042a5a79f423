"""Operations: claimed with a lease and a fence, finished or put back by who holds the fence."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from sqlalchemy import update
from sqlmodel import Session, col, select

from clonepool.domain.model import Operation, PageRequest
from clonepool.domain.states import OperationState
from clonepool.errors import Aborted, NotFound
from clonepool.store import rows, tables
from clonepool.store.writer import Transaction

SCRUB = "scrub_volume"
# far enough for "not before it is reset"
NEVER = 4e9
# no pause between two attempts is as long: such a time was written before the clock was set back
_LONGEST_PAUSE_S = 300.0
_OPEN = ("queued", "running")
# ended operations kept for `operation list`; a pool of thousands would drown them otherwise
_KEEP_ENDED = 5000

# in two parts for each place, each with an index of its own: thousands of scrubs that may not run
# yet must not be looked through for each clone behind them
_DUE_OTHER = """
    SELECT * FROM (SELECT n, run_after FROM operation WHERE state = 'queued'
        AND kind != 'scrub_volume' AND node = :{place} AND run_after <= :now
        ORDER BY run_after, n LIMIT :limit) AS others_{place}
"""
_DUE_SCRUB = """
    SELECT * FROM (SELECT n, run_after FROM operation WHERE state = 'queued'
        AND kind = 'scrub_volume' AND node = :{place} AND run_after <= :now
        ORDER BY run_after, n LIMIT :scrubs) AS scrubs_{place}
"""
_CLAIM = """
    UPDATE operation SET state = 'running', owner = :owner, fence = fence + 1,
        attempt = attempt + 1, lease_until = :lease
    WHERE n IN (SELECT n FROM ({due}) AS due ORDER BY run_after, n LIMIT :limit)
    RETURNING n, id, kind, subject, key, state, node, attempt, run_after, fence, progress_bytes,
        total_bytes, error, cancel, created_at, finished_at
"""
_NEXT_OTHER = """
    SELECT min(run_after) FROM operation
    WHERE state = 'queued' AND kind != 'scrub_volume' AND node = ?
"""
_NEXT_SCRUB = """
    SELECT min(run_after) FROM operation
    WHERE state = 'queued' AND kind = 'scrub_volume' AND node = ?
"""
_ADD = """
    INSERT INTO operation(id, kind, subject, key, state, node, attempt, run_after, owner, fence,
        lease_until, progress_bytes, total_bytes, error, cancel, created_at)
    VALUES (?, ?, ?, ?, 'queued', ?, 0, ?, '', 0, 0, 0, 0, '', FALSE, ?)
    ON CONFLICT (kind, key) WHERE state IN ('queued', 'running') DO NOTHING
"""
_END = """
    UPDATE operation SET state = ?, error = ?, finished_at = ?
    WHERE id = ? AND fence = ? AND state = 'running'
"""


def add(
    transaction: Transaction, *, kind: str, subject: str, key: str, node: str, now: float
) -> None:
    """Ask for work; an open operation of the same kind and key stands for both."""
    values = (str(uuid.uuid4()), kind, subject, key, node, now, now)
    transaction.sql(_ADD, values)


def add_for_volume(
    transaction: Transaction, *, kind: str, volume_id: str, node: str, now: float
) -> None:
    """Ask for work on one volume."""
    subject = f"volume/{volume_id}"
    add(transaction, kind=kind, subject=subject, key=volume_id, node=node, now=now)


@functools.cache
def _claim_from(places: int) -> str:
    names = [f"place{number}" for number in range(places)]
    parts = [part.format(place=name) for name in names for part in (_DUE_OTHER, _DUE_SCRUB)]
    return _CLAIM.format(due=" UNION ALL ".join(parts))


def claim_due(
    transaction: Transaction,
    *,
    places: Sequence[str],
    owner: str,
    now: float,
    limit: int,
    scrubs: int,
    lease_s: float,
) -> list[Operation]:
    """Take what is due at these places; only the new fence may report on it from now on.

    At most ``limit`` in all, and ``scrubs`` scrubs among them.
    """
    parameters = {
        "owner": owner,
        "now": now,
        "lease": now + lease_s,
        "limit": limit,
        "scrubs": scrubs,
        **{f"place{number}": place for number, place in enumerate(places)},
    }
    cursor = transaction.sql(_claim_from(len(places)), parameters)
    columns = [column[0] for column in cursor.description]
    found: list[Any] = [
        SimpleNamespace(**dict(zip(columns, row, strict=True))) for row in cursor.fetchall()
    ]
    return [rows.operation(row) for row in sorted(found, key=lambda row: row.n)]


def next_due_at(session: Session, *, places: Sequence[str], scrubs: bool = True) -> float | None:
    """When the next queued operation at these places is due; without ``scrubs`` none of those."""
    found = [
        session.connection().exec_driver_sql(statement, (place,)).scalar_one()
        for place in places
        for statement in (_NEXT_OTHER, _NEXT_SCRUB)[: 2 if scrubs else 1]
    ]
    return min((at for at in found if at is not None), default=None)


def requeue_of_dead_owner(transaction: Transaction, *, places: Sequence[str], owner: str) -> int:
    """Put back what an earlier incarnation of this owner's node was running.

    The host lock says that it is dead; its fence is void with the next claim.
    """
    node = owner.partition("/")[0]
    statement = """
        UPDATE operation SET state = 'queued'
        WHERE state = 'running' AND node = ? AND owner != ? AND owner LIKE ? || '/%'
    """
    return sum(transaction.sql(statement, (place, owner, node)).rowcount for place in places)


def renew(
    transaction: Transaction,
    *,
    operation_ids: Sequence[str],
    owner: str,
    now: float,
    lease_s: float,
) -> None:
    """Prolong the leases of running operations."""
    for operation_id in operation_ids:
        transaction.sql(
            "UPDATE operation SET lease_until = ? WHERE id = ? AND owner = ? AND state = 'running'",
            (now + lease_s, operation_id, owner),
        )


def requeue_expired(transaction: Transaction, *, places: Sequence[str], now: float) -> int:
    """Put back what nobody renews any more: its worker could not even report."""
    statement = """
        UPDATE operation SET state = 'queued'
        WHERE state = 'running' AND node = ? AND lease_until < ?
    """
    return sum(transaction.sql(statement, (place, now)).rowcount for place in places)


def bring_forward(transaction: Transaction, *, places: Sequence[str], now: float) -> int:
    """Make due at once what a clock that was set back had put off; returns how many."""
    statement = """
        UPDATE operation SET run_after = :now WHERE state = 'queued' AND node = :place
            AND run_after > :now + :pause AND run_after < :never
    """
    values = {"now": now, "pause": _LONGEST_PAUSE_S, "never": NEVER}
    return sum(transaction.sql(statement, values | {"place": each}).rowcount for each in places)


def end(
    transaction: Transaction,
    *,
    operation: Operation,
    state: OperationState,
    now: float,
    error: str = "",
) -> None:
    """Report the end of one's own operation. Raises Aborted when another holds the fence."""
    values = (state.value, error, now, operation.id, operation.fence)
    if transaction.sql(_END, values).rowcount != 1:
        text = f"operation {operation.id} ({operation.kind}) is no longer this worker's"
        raise Aborted(text, reason="FENCE")


def put_back(
    transaction: Transaction, *, operation: Operation, run_after: float, error: str
) -> None:
    """Try again later. Raises Aborted when another holds the fence."""
    cursor = transaction.sql(
        "UPDATE operation SET state = 'queued', run_after = ?, error = ? "
        "WHERE id = ? AND fence = ? AND state = 'running'",
        (run_after, error, operation.id, operation.fence),
    )
    if cursor.rowcount != 1:
        text = f"operation {operation.id} ({operation.kind}) is no longer this worker's"
        raise Aborted(text, reason="FENCE")


def forget_attempts(transaction: Transaction, *, operation: Operation) -> None:
    """It was put off, not tried."""
    transaction.sql("UPDATE operation SET attempt = 0 WHERE id = ?", (operation.id,))


def progress(
    transaction: Transaction, *, operation: Operation, done_bytes: int, total_bytes: int
) -> bool:
    """Note progress in bytes; True when the operation was asked to stop."""
    cursor = transaction.sql(
        "UPDATE operation SET progress_bytes = ?, total_bytes = ? "
        "WHERE id = ? AND fence = ? RETURNING cancel",
        (done_bytes, total_bytes, operation.id, operation.fence),
    )
    row = cursor.fetchone()
    return row is None or bool(row[0])


def defer_of_pool(transaction: Transaction, *, pool_id: str, run_after: float) -> None:
    """Move a pool's queued clones: far away when it is stopped, to now when it is reset."""
    transaction.sql(
        "UPDATE operation SET run_after = ? WHERE state = 'queued' AND kind = 'clone_volume' "
        "AND key IN (SELECT id FROM volume WHERE pool_id = ?)",
        (run_after, pool_id),
    )


def ask_to_cancel(transaction: Transaction, *, operation_id: str) -> None:
    """Note the wish; who runs it sees it with its next progress."""
    statement = update(tables.Operation).where(col(tables.Operation.id) == operation_id)
    transaction.session.execute(statement.values(cancel=True))


def prune(transaction: Transaction) -> None:
    """Forget the oldest ended operations."""
    transaction.sql(
        "DELETE FROM operation WHERE state NOT IN ('queued', 'running') "
        "AND n < (SELECT coalesce(max(n), 0) FROM operation) - ?",
        (_KEEP_ENDED,),
    )


def get(session: Session, *, operation_id: str) -> Operation:
    """One operation. Raises NotFound."""
    query = select(tables.Operation).where(tables.Operation.id == operation_id)
    row = session.exec(query).first()
    if row is None:
        raise NotFound(f"there is no operation {operation_id}")
    return rows.operation(row)


def find_open(session: Session, *, kind: str, key: str) -> Operation | None:
    """The open operation of this kind and key."""
    query = select(tables.Operation).where(
        tables.Operation.kind == kind,
        tables.Operation.key == key,
        col(tables.Operation.state).in_(_OPEN),
    )
    row = session.exec(query).first()
    return rows.operation(row) if row else None


def list_page(
    session: Session, *, page: PageRequest, open_only: bool
) -> tuple[list[Operation], str]:
    """Newest first."""
    query = select(tables.Operation).order_by(col(tables.Operation.n).desc()).limit(page.size)
    if open_only:
        query = query.where(col(tables.Operation.state).in_(_OPEN))
    if page.token:
        query = query.where(col(tables.Operation.n) < page.row())
    found = session.exec(query).all()
    token = str(found[-1].n) if len(found) == page.size else ""
    return [rows.operation(row) for row in found], token
