"""Scrub runs: which volumes they take, and how far they are."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func
from sqlmodel import Session, col, select

from clonepool.domain.model import ImageVersion, PageRequest, ReplicaPool, Volume
from clonepool.domain.policy import Backlog
from clonepool.domain.states import AfterScrub, ScrubMethod, VerifyMode
from clonepool.domain.work import ScrubRun
from clonepool.errors import NotFound
from clonepool.store import doubt, operations, pools, released, rows, tables
from clonepool.store.writer import Transaction

# a stamp from so far ahead was written before the clock was set back: nobody can say how long ago
_AHEAD_S = 60.0
_ELIGIBLE = "state = 'released' AND (released_at <= :undo_before OR released_at > :ahead)"
_TAKE = f"""
    UPDATE volume SET state = 'scrubbing', scrub_run_id = :run, changed_at = :now,
        after_scrub = :after, read_back = ''
    WHERE n IN (SELECT n FROM volume WHERE pool_id = :pool AND ({_ELIGIBLE}
            OR state = 'faulty' AND released_at IS NOT NULL AND changed_at <= :faulty_before)
        ORDER BY released_at, n LIMIT :limit)
    RETURNING id, node
"""  # noqa: S608 - texts of ours, values bound
_TAKE_ONE = """
    UPDATE volume SET state = 'scrubbing', scrub_run_id = :run, changed_at = :now,
        after_scrub = :after, read_back = ''
    WHERE id = :volume AND state = 'faulty' AND released_at IS NOT NULL
    RETURNING id, node
"""
_BACKLOG = f"""
    SELECT count(*), coalesce(sum(size_bytes), 0), coalesce(:now - min(released_at), 0)
    FROM volume WHERE pool_id = :pool AND {_ELIGIBLE}
"""  # noqa: S608 - texts of ours, values bound
_FAULTY = """
    SELECT 1 FROM volume WHERE pool_id = ? AND state = 'faulty'
        AND released_at IS NOT NULL AND changed_at <= ? LIMIT 1
"""
_ALL = 2**31
_SCRUBBED = (
    select(func.count())
    .select_from(tables.ScrubRecord)
    .where(tables.ScrubRecord.run_id == tables.ScrubRun.id)
    .correlate(tables.ScrubRun)
    .scalar_subquery()
)


@dataclass(frozen=True, kw_only=True)
class Order:
    """A run to be started: why, by what policy, and who may be taken into it.

    Volumes released after ``undo_before`` are left: their release can still be undone. Those that
    could not be scrubbed and are faulty since before ``faulty_before`` are tried once more.
    """

    trigger: str
    method: ScrubMethod
    verify: VerifyMode
    undo_before: float
    faulty_before: float = 0


def start(
    transaction: Transaction,
    *,
    pool: ReplicaPool,
    order: Order,
    recycle: int,
    now: float,
) -> str | None:
    """Take a pool's released volumes into one run; None when there is none to take.

    The first ``recycle`` of them, those released longest ago, are to be reused.
    """
    run_id = str(uuid.uuid4())
    limits = {AfterScrub.RECYCLE: recycle, AfterScrub.DESTROY: _ALL}
    taken: list[tuple[str, str]] = []
    for after, limit in limits.items():
        values: dict[str, Any] = {
            "run": run_id,
            "pool": pool.id,
            "after": after.value,
            "limit": limit,
        }
        values |= _times(order.undo_before, now) | {"faulty_before": order.faulty_before}
        taken += transaction.sql(_TAKE, values).fetchall()
    return _begin(transaction, run_id, taken, pool=pool, order=order, now=now)


def start_one(
    transaction: Transaction,
    *,
    pool: ReplicaPool,
    volume_id: str,
    after: AfterScrub,
    order: Order,
    now: float,
) -> str | None:
    """Take one faulty volume into a run of its own; None when it is faulty no more."""
    run_id = str(uuid.uuid4())
    values = {"run": run_id, "volume": volume_id, "after": after.value, "now": now}
    taken = transaction.sql(_TAKE_ONE, values).fetchall()
    return _begin(transaction, run_id, taken, pool=pool, order=order, now=now)


def _begin(
    transaction: Transaction,
    run_id: str,
    taken: Sequence[tuple[str, str]],
    *,
    pool: ReplicaPool,
    order: Order,
    now: float,
) -> str | None:
    if not taken:
        return None
    released.forget_of_run(transaction, run_id=run_id)
    transaction.session.add(
        tables.ScrubRun(
            id=run_id,
            pool_id=pool.id,
            pool_name=pool.spec.name,
            trigger=order.trigger,
            method=order.method.value,
            verify=order.verify.value,
            state="running",
            volumes=len(taken),
            started_at=now,
        )
    )
    for volume_id, node in taken:
        operations.add_for_volume(
            transaction, kind="scrub_volume", volume_id=volume_id, node=node, now=now
        )
    return run_id


def backlog(session: Session, *, pool_id: str, undo_before: float, now: float) -> Backlog:
    """What a run of the pool would take now, without the faulty ones."""
    values = {"pool": pool_id, **_times(undo_before, now)}
    # exec_driver_sql takes named parameters as sqlite3 does
    row = session.connection().exec_driver_sql(_BACKLOG, values).one()
    return Backlog(volumes=row[0], size_bytes=row[1], oldest_age_s=row[2])


def _times(undo_before: float, now: float) -> dict[str, float]:
    return {"undo_before": undo_before, "ahead": now + _AHEAD_S, "now": now}


def has_faulty(session: Session, *, pool_id: str, before: float) -> bool:
    """Whether a volume of the pool could not be scrubbed and is faulty since ``before``."""
    return session.connection().exec_driver_sql(_FAULTY, (pool_id, before)).first() is not None


def count_outcome(transaction: Transaction, *, run_id: str, outcome: str, now: float) -> bool:
    """Count one volume as recycled, destroyed or faulty; True when the run is over with it."""
    column = {"recycle": "recycled", "destroy": "destroyed", "faulty": "faulty"}[outcome]
    row = transaction.sql(
        f"UPDATE scrub_run SET {column} = {column} + 1 WHERE id = ? "  # noqa: S608 - our columns
        "RETURNING volumes - recycled - destroyed - faulty, faulty",
        (run_id,),
    ).fetchone()
    if row is None or row[0] > 0:
        return False
    transaction.sql(
        "UPDATE scrub_run SET state = ?, finished_at = ? WHERE id = ?",
        ("failed" if row[1] else "done", now, run_id),
    )
    return True


def after_scrub_of(session: Session, *, volume_id: str) -> AfterScrub:
    """What the run decided for a volume."""
    query = select(tables.Volume.after_scrub).where(tables.Volume.id == volume_id)
    return AfterScrub(session.exec(query).one())


def version_for_reuse(session: Session, *, volume: Volume) -> ImageVersion | None:
    """What the volume is cloned from next; None: the run, or what came since, destroys it."""
    after = after_scrub_of(session, volume_id=volume.id)
    if after is not AfterScrub.RECYCLE or not pools.is_live(session, pool_id=volume.pool_id):
        return None
    if doubt.is_older(session, created_at=volume.created_at):
        return None
    return pools.wanted_version(session, pool_id=volume.pool_id)


def get_run(session: Session, *, run_id: str) -> ScrubRun:
    """One run. Raises NotFound."""
    query = select(tables.ScrubRun, _SCRUBBED).where(tables.ScrubRun.id == run_id)
    found = session.exec(query).first()
    if found is None:
        text = f"there is no scrub run {run_id}; `clonepool scrub runs` shows what there is"
        raise NotFound(text)
    return rows.scrub_run(found[0], scrubbed=found[1])


def list_runs(session: Session, *, page: PageRequest, pool: str) -> tuple[list[ScrubRun], str]:
    """Newest first."""
    query = select(tables.ScrubRun, _SCRUBBED).order_by(col(tables.ScrubRun.n).desc())
    if pool:
        query = query.where(tables.ScrubRun.pool_name == pool)
    if page.token:
        query = query.where(col(tables.ScrubRun.n) < page.row())
    found = session.exec(query.limit(page.size)).all()
    token = str(found[-1][0].n) if len(found) == page.size else ""
    return [rows.scrub_run(row, scrubbed=scrubbed) for row, scrubbed in found], token
