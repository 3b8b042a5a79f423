"""Many volumes in a database, made in seconds: rows through every allowed move, without files."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from clonepool.domain.states import VolumeState
from clonepool.store.state import State
from clonepool.store.writer import Transaction

_CHUNK = 10_000
_STOPPED = "rows are being made for a benchmark"
# newer than anything that is made meanwhile: what is real is handed out first
_LATER_S = 10 * 365 * 86400.0
_PLAN = """
    WITH RECURSIVE numbers(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < :count)
    INSERT INTO volume(id, generation, pool_id, image_version_id, node, storage, fabric, state,
        slot, size_bytes, used_bytes, clone_kind, last_attachment_id, last_server, after_scrub,
        error, created_at, changed_at)
    SELECT lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' ||
            substr(hex(randomblob(2)), 2) || '-a' || substr(hex(randomblob(2)), 2) || '-' ||
            hex(randomblob(6))),
        1, p.id, i.current_version_id, :node, i.storage, p.fabric, 'planned', 0,
        v.rw_size_bytes, 0, 'thin', '', '', '', '', :at, :at
    FROM numbers, pool p JOIN image i ON i.id = p.image_id
        JOIN image_version v ON v.id = i.current_version_id
    WHERE p.name = :pool
"""
# the states in the order of a volume's life, as far as these go
_WAY = (
    VolumeState.PLANNED,
    VolumeState.CLONING,
    VolumeState.READY,
    VolumeState.ATTACHING,
    VolumeState.ALLOCATED,
    VolumeState.DETACHING,
    VolumeState.RELEASED,
)
_HELD = (VolumeState.ATTACHING, VolumeState.ALLOCATED, VolumeState.DETACHING)


def add_ready_volumes(state_dir: Path, *, pool: str, count: int) -> None:
    """Add ready volumes to a pool, by a connection of its own beside the engine's, if one runs.

    The pool is full with them, so the engine makes no more. Nothing is exported for them: an
    engine that starts afterwards would report their objects as missing.
    """
    add_volumes(state_dir, pool=pool, count=count, state=VolumeState.READY)


def add_volumes(state_dir: Path, *, pool: str, count: int, state: VolumeState) -> list[str]:
    """Add volumes in the state ready or released; returns their ids."""
    added: list[str] = []
    database = State(folder=state_dir, node="bulk", clock=time.time)
    try:
        database.write(lambda transaction: _stop(transaction, pool, count, state))
        while len(added) < count:
            size = min(_CHUNK, count - len(added))
            chunk = partial(add_rows, pool=pool, count=size, state=state)
            added += database.write(chunk)
        database.write(lambda transaction: _go_on(transaction, pool))
    finally:
        database.close()
    return added


def _stop(transaction: Transaction, pool: str, count: int, state: VolumeState) -> None:
    """Keep the planner from giving up what would be surplus, and from making what is short."""
    more = count if state is VolumeState.READY else 0
    transaction.sql(
        "UPDATE pool SET stopped_reason = ?, min_ready = min_ready + ?, "
        "max_replicas = max_replicas + ? WHERE name = ?",
        (_STOPPED, more, more, pool),
    )


def _go_on(transaction: Transaction, pool: str) -> None:
    transaction.sql("UPDATE pool SET stopped_reason = '' WHERE name = ?", (pool,))


def add_rows(
    transaction: Transaction, *, pool: str, count: int, state: VolumeState, node: str = ""
) -> list[str]:
    """Add volumes of a node's (default: of who has one, else ``bulk``); returns their ids."""
    last = transaction.sql("SELECT coalesce(max(n), 0) FROM volume").fetchone()[0]
    known = transaction.sql("SELECT node FROM volume LIMIT 1").fetchone()
    values = {
        "count": count,
        "pool": pool,
        "node": node or (known[0] if known else "bulk"),
        "at": time.time() + _LATER_S,
    }
    transaction.sql(_PLAN, values)
    for step in _WAY[1 : _WAY.index(state) + 1]:
        # who holds a volume is the volume itself: there is no attachment to name
        holder = "id" if step in _HELD else "NULL"
        released = "changed_at" if step is VolumeState.RELEASED else "NULL"
        transaction.sql(
            f"UPDATE volume SET state = ?, attachment_id = {holder}, released_at = {released} "  # noqa: S608 - our words
            "WHERE n > ?",
            (step.value, last),
        )
    return [row[0] for row in transaction.sql("SELECT id FROM volume WHERE n > ?", (last,))]
