"""Scrub runs and records."""

from __future__ import annotations

import uuid

from sqlalchemy import func
from sqlmodel import Session, col, select

from clonepool.domain.model import PageRequest, ReplicaPool, ScrubRecord, ScrubRun, Volume
from clonepool.domain.states import AfterScrub, ScrubMethod
from clonepool.errors import NotFound
from clonepool.store import operations, rows, tables
from clonepool.store.writer import Transaction

_TAKE = """
    UPDATE volume SET state = 'scrubbing', scrub_run_id = :run, changed_at = :now,
        after_scrub = :after
    WHERE n IN (SELECT n FROM volume WHERE pool_id = :pool AND (state = 'released'
            OR state = 'faulty' AND released_at IS NOT NULL AND changed_at <= :faulty_before)
        ORDER BY released_at, n LIMIT :limit)
    RETURNING id
"""
_FAULTY = """
    SELECT 1 FROM volume WHERE pool_id = ? AND state = 'faulty'
        AND released_at IS NOT NULL AND changed_at <= ? LIMIT 1
"""
_RECORD = """
    INSERT INTO scrub_record(volume_id, generation, pool_name, run_id, user_name, user_kind,
        attachment_id, server_name, method, after_scrub, size_bytes, allocated_at, released_at,
        started_at, finished_at)
    SELECT id, generation, :pool, :run, last_user_name, last_user_kind, last_attachment_id,
        last_server, :method, :after, size_bytes, last_allocated_at, released_at, :started,
        :now
    FROM volume WHERE id = :volume AND generation = :generation AND state = 'scrubbing'
    ON CONFLICT (volume_id, generation) DO NOTHING
"""
_ALL = 2**31
_SCRUBBED = (
    select(func.count())
    .select_from(tables.ScrubRecord)
    .where(tables.ScrubRecord.run_id == tables.ScrubRun.id)
    .correlate(tables.ScrubRun)
    .scalar_subquery()
)


def start(
    transaction: Transaction,
    *,
    pool: ReplicaPool,
    trigger: str,
    recycle: int,
    faulty_before: float,
    node: str,
    now: float,
) -> str | None:
    """Take every released volume of a pool into one run; None when there is none.

    Those that could not be scrubbed and are faulty since before ``faulty_before`` are tried once
    more. The first ``recycle`` of them, those released longest ago, are to be reused.
    """
    run_id = str(uuid.uuid4())
    limits = {AfterScrub.RECYCLE: recycle, AfterScrub.DESTROY: _ALL}
    volume_ids = []
    for after, limit in limits.items():
        values = {"run": run_id, "pool": pool.id, "after": after.value, "limit": limit, "now": now}
        values |= {"faulty_before": faulty_before}
        volume_ids += [row[0] for row in transaction.sql(_TAKE, values)]
    if not volume_ids:
        return None
    transaction.session.add(
        tables.ScrubRun(
            id=run_id,
            pool_id=pool.id,
            pool_name=pool.spec.name,
            trigger=trigger,
            method=pool.spec.scrub.method.value,
            state="running",
            volumes=len(volume_ids),
            started_at=now,
        )
    )
    for volume_id in volume_ids:
        operations.add_for_volume(
            transaction, kind="scrub_volume", volume_id=volume_id, node=node, now=now
        )
    return run_id


def has_faulty(session: Session, *, pool_id: str, before: float) -> bool:
    """Whether a volume of the pool could not be scrubbed and is faulty since ``before``."""
    return session.connection().exec_driver_sql(_FAULTY, (pool_id, before)).first() is not None


def record(
    transaction: Transaction,
    *,
    volume: Volume,
    method: ScrubMethod,
    after: AfterScrub,
    started_at: float,
    now: float,
) -> None:
    """Write down that this generation's bytes are erased, and what becomes of the volume."""
    values = {
        "volume": volume.id,
        "generation": volume.generation,
        "pool": volume.pool_name,
        "run": volume.scrub_run_id,
        "method": method.value,
        "after": after.value,
        "started": started_at,
        "now": now,
    }
    transaction.sql(_RECORD, values)


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


def get_run(session: Session, *, run_id: str) -> ScrubRun:
    """One run. Raises NotFound."""
    query = select(tables.ScrubRun, _SCRUBBED).where(tables.ScrubRun.id == run_id)
    found = session.exec(query).first()
    if found is None:
        raise NotFound(f"there is no scrub run {run_id}")
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


def list_records(
    session: Session, *, page: PageRequest, pool: str, volume_id: str
) -> tuple[list[ScrubRecord], str]:
    """Newest first."""
    query = select(tables.ScrubRecord).order_by(col(tables.ScrubRecord.n).desc())
    if pool:
        query = query.where(tables.ScrubRecord.pool_name == pool)
    if volume_id:
        query = query.where(tables.ScrubRecord.volume_id == volume_id)
    if page.token:
        query = query.where(col(tables.ScrubRecord.n) < page.row())
    found = session.exec(query.limit(page.size)).all()
    token = str(found[-1].n) if len(found) == page.size else ""
    return [rows.scrub_record(row) for row in found], token
