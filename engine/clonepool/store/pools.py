"""Replica pools and their counts."""

from __future__ import annotations

import json
import uuid
from typing import Any

from sqlmodel import Session, col, select

from clonepool.domain.drift import list_names
from clonepool.domain.model import ImageVersion, PageRequest, PoolCounts, PoolSpec, Ref, ReplicaPool
from clonepool.domain.states import VolumeState
from clonepool.errors import FailedPrecondition, InvalidArgument, NotFound
from clonepool.store import attachments, holds, images, rows, tables
from clonepool.store.allocation import already_exists
from clonepool.store.writer import Transaction

_COUNTS = """
    SELECT state, count(*), sum(CASE WHEN image_version_id IS NOT (
        SELECT CASE p.image_version WHEN 0 THEN i.current_version_id ELSE (
            SELECT id FROM image_version WHERE image_id = i.id AND number = p.image_version) END
        FROM pool p JOIN image i ON i.id = p.image_id WHERE p.id = :pool) THEN 1 ELSE 0 END)
    FROM volume WHERE pool_id = :pool GROUP BY state
"""
_RECYCLING = (
    "SELECT count(*) FROM volume "
    "WHERE pool_id = ? AND state = 'scrubbing' AND after_scrub = 'recycle'"
)
_WANTED = """
    SELECT v.* FROM pool p JOIN image i ON i.id = p.image_id
        JOIN image_version v ON v.image_id = i.id AND v.state = 'ready' AND
            CASE p.image_version WHEN 0 THEN v.id = i.current_version_id
                ELSE v.number = p.image_version END
    WHERE p.id = ?
"""
_WAITING = "SELECT count(*) FROM attachment WHERE pool_id = ? AND state = 'waiting'"


def create(transaction: Transaction, *, spec: PoolSpec, token: str, digest: str, now: float) -> str:
    """Insert, or find what the same caller made; returns the id."""
    row = find_live(transaction.session, ref=Ref(name=spec.name))
    if row is not None:
        if row.token == token and row.token_digest == digest:
            return row.id
        raise already_exists("pool", spec.name, row.id, same_token=row.token == token)
    image = images.find_live(transaction.session, ref=Ref(name=spec.master_image))
    if image is None:
        text = f"there is no master image {spec.master_image}; `clonepool image list` shows them"
        raise NotFound(text)
    _check_version(transaction, image_id=image.id, spec=spec)
    row = tables.Pool(
        id=str(uuid.uuid4()),
        image_id=image.id,
        token=token,
        token_digest=digest,
        created_at=now,
        **_columns(spec),
    )
    transaction.session.add(row)
    return row.id


def _columns(spec: PoolSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "image_name": spec.master_image,
        "image_version": spec.image_version,
        "fabric": spec.fabric,
        "min_ready": spec.min_ready,
        "max_replicas": spec.max_replicas,
        "clone_mode": spec.clone_mode.value,
        "when_empty": spec.when_empty.value,
        "wait_for_ready": spec.wait_for_ready,
        "max_unavailable": spec.max_unavailable,
        "scrub_threshold": spec.scrub.threshold,
        "scrub_method": spec.scrub.method.value,
        "scrub_then": spec.scrub.then.value,
        "scrub_on_low_space": spec.scrub.on_low_space,
        "scrub_max_age_s": spec.scrub.max_age_s,
        "scrub_max_bytes": spec.scrub.max_bytes,
        "scrub_verify": spec.scrub.verify.value,
        "scrub_undo_window_s": spec.scrub.undo_window_s,
        "scrub_windows": json.dumps(spec.scrub.windows),
        "scrub_assurance": spec.scrub.assurance.value,
    }


def _check_version(transaction: Transaction, *, image_id: str, spec: PoolSpec) -> None:
    if spec.image_version == 0:
        return
    query = select(tables.ImageVersion).where(
        tables.ImageVersion.image_id == image_id,
        tables.ImageVersion.number == spec.image_version,
    )
    row = transaction.session.exec(query).first()
    if row is None or row.state != "ready":
        state = row.state if row else "not there (old versions go when nothing refers to them)"
        text = (
            f"version {spec.image_version} of master image {spec.master_image} is {state}; "
            "name one that is ready, or 0 to follow the current one"
        )
        raise InvalidArgument.field("image_version", text)


def update(transaction: Transaction, *, pool_id: str, spec: PoolSpec, digest: str) -> None:
    """Change in place. Raises NotFound, InvalidArgument."""
    row = transaction.session.get(tables.Pool, pool_id)
    if row is None or row.deleted_at is not None:
        raise NotFound(f"there is no pool with id {pool_id}")
    for field, before, after in (
        ("name", row.name, spec.name),
        ("master_image", row.image_name, spec.master_image),
        ("fabric", row.fabric, spec.fabric),
    ):
        if before != after:
            text = f"can't change in place ({before} now); replace the pool"
            raise InvalidArgument.field(field, text)
    if row.image_version != spec.image_version:
        _check_version(transaction, image_id=row.image_id, spec=spec)
    for column, value in _columns(spec).items():
        setattr(row, column, value)
    # a repeated create asks for what is declared now
    row.token_digest = digest
    transaction.session.add(row)


def delete(transaction: Transaction, *, pool_id: str, now: float) -> str | None:
    """Make a tombstone; returns its name, None when it is gone. FailedPrecondition in use."""
    row = transaction.session.get(tables.Pool, pool_id)
    if row is None or row.deleted_at is not None:
        return None
    held = attachments.names_of_pool(transaction, pool_id=pool_id)
    if held:
        text = f"pool {row.name} has attachments ({list_names(held)}); release them first"
        raise FailedPrecondition(text, reason="POOL_IN_USE")
    row.deleted_at = now
    transaction.session.add(row)
    holds.end_of_pool(transaction, pool_id=pool_id, pool=row.name, now=now)
    return row.name


_EMPTY_TOMBSTONES = """
    SELECT id FROM pool WHERE deleted_at IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM volume WHERE pool_id = pool.id)
"""


def has_empty_tombstones(session: Session) -> bool:
    """Whether a deleted pool has lost its last volume."""
    return session.connection().exec_driver_sql(_EMPTY_TOMBSTONES).first() is not None


def forget_empty_tombstones(transaction: Transaction) -> None:
    """Tombstones go with their last volume, and those of images with their last pool."""
    for (pool_id,) in transaction.sql(_EMPTY_TOMBSTONES).fetchall():
        transaction.sql("DELETE FROM pool WHERE id = ?", (pool_id,))
    images.forget_empty_tombstones(transaction)


def find_live(session: Session, *, ref: Ref) -> tables.Pool | None:
    """The live row of an id or a name."""
    by = tables.Pool.id == ref.id if ref.id else tables.Pool.name == ref.name
    return session.exec(
        select(tables.Pool).where(by, col(tables.Pool.deleted_at).is_(None))
    ).first()


def get(session: Session, *, ref: Ref, now: float) -> ReplicaPool:
    """One live pool with its counts. Raises NotFound."""
    row = find_live(session, ref=ref)
    if row is None:
        raise NotFound(f"there is no pool {ref}; `clonepool pool list` shows what there is")
    return rows.pool(row, counts=counts(session, pool_id=row.id, now=now))


def get_any(session: Session, *, pool_id: str, now: float) -> tuple[ReplicaPool, bool]:
    """A pool by id, tombstones included; and whether it is live. Raises NotFound."""
    row = session.get(tables.Pool, pool_id)
    if row is None:
        raise NotFound(f"there is no pool with id {pool_id}")
    made = rows.pool(row, counts=counts(session, pool_id=pool_id, now=now))
    return made, row.deleted_at is None


def counts(session: Session, *, pool_id: str, now: float) -> PoolCounts:
    """A pool's volumes by state, its queue, and what is held of it."""
    connection = session.connection()
    found = connection.exec_driver_sql(_COUNTS, {"pool": pool_id}).all()
    stale_of = {state: stale for state, _number, stale in found}
    by_state = {VolumeState(state): number for state, number, _stale in found}
    recycling = 0
    if VolumeState.SCRUBBING in by_state:
        recycling = connection.exec_driver_sql(_RECYCLING, (pool_id,)).scalar_one()
    return PoolCounts(
        by_state=by_state,
        stale=stale_of.get("ready", 0),
        making_stale=stale_of.get("planned", 0) + stale_of.get("cloning", 0),
        recycling=recycling,
        waiting=connection.exec_driver_sql(_WAITING, (pool_id,)).scalar_one(),
        held=holds.held_of(session, pool_id=pool_id, now=now),
    )


def list_page(session: Session, *, page: PageRequest, now: float) -> tuple[list[ReplicaPool], str]:
    """By name."""
    query = (
        select(tables.Pool)
        .where(
            col(tables.Pool.deleted_at).is_(None),
            col(tables.Pool.name) > page.token,
            col(tables.Pool.name).startswith(page.name_prefix, autoescape=True),
        )
        .order_by(col(tables.Pool.name))
        .limit(page.size)
    )
    found = session.exec(query).all()
    token = found[-1].name if len(found) == page.size else ""
    made = [rows.pool(row, counts=counts(session, pool_id=row.id, now=now)) for row in found]
    return made, token


def ids(session: Session) -> list[str]:
    """Every pool's id, tombstones included."""
    return list(session.exec(select(tables.Pool.id)))


def is_live(session: Session, *, pool_id: str) -> bool:
    """Whether a pool is there and no tombstone; counts nothing, unlike ``get_any``."""
    found = session.connection().exec_driver_sql(
        "SELECT 1 FROM pool WHERE id = ? AND deleted_at IS NULL", (pool_id,)
    )
    return found.first() is not None


def wanted_version(session: Session, *, pool_id: str) -> ImageVersion | None:
    """The version that new replicas are made of; None while none is ready."""
    row: Any = session.connection().exec_driver_sql(_WANTED, (pool_id,)).first()
    return rows.version(row) if row is not None else None


def note_failure(transaction: Transaction, *, pool_id: str) -> int:
    """Count one more failure in a row; returns how many there are."""
    row = transaction.sql(
        "UPDATE pool SET failures = failures + 1 WHERE id = ? RETURNING failures", (pool_id,)
    ).fetchone()
    return int(row[0]) if row else 0


def note_success(transaction: Transaction, *, pool_id: str, clone_kind: str) -> None:
    """A clone worked: the count of failures in a row starts anew."""
    transaction.sql(
        "UPDATE pool SET failures = 0, clone_kind = :kind "
        "WHERE id = :pool AND (failures != 0 OR clone_kind != :kind)",
        {"kind": clone_kind, "pool": pool_id},
    )


def stop(transaction: Transaction, *, pool_id: str, reason: str) -> bool:
    """Stop filling; False when it was stopped already."""
    return (
        transaction.sql(
            "UPDATE pool SET stopped_reason = ? WHERE id = ? AND stopped_reason = ''",
            (reason, pool_id),
        ).rowcount
        == 1
    )


def reset(transaction: Transaction, *, pool_id: str) -> bool:
    """Fill again; False when it was not stopped."""
    return (
        transaction.sql(
            "UPDATE pool SET stopped_reason = '', failures = 0 "
            "WHERE id = ? AND stopped_reason != ''",
            (pool_id,),
        ).rowcount
        == 1
    )
