"""Volumes: planned, moved from state to state, forgotten."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from sqlmodel import Session, col, select

from clonepool.domain.capacity import Owed
from clonepool.domain.model import (
    ImagePortion,
    ImageVersion,
    PageRequest,
    ReplicaPool,
    Volume,
)
from clonepool.domain.nodes import work_place
from clonepool.domain.states import VOLUME_MOVES, VersionState, VolumeState
from clonepool.errors import FailedPrecondition, Internal, NotFound
from clonepool.store import operations, rows, tables
from clonepool.store.writer import Transaction

_PLAN = """
    INSERT INTO volume(id, generation, pool_id, image_version_id, node, storage, fabric, state,
        slot, size_bytes, used_bytes, clone_kind, last_attachment_id, last_server, after_scrub,
        error, created_at, changed_at)
    VALUES (?, 1, ?, ?, ?, ?, ?, 'planned', ?, ?, 0, '', '', '', '', '', ?, ?)
"""
_RETIRE = """
    UPDATE volume SET state = 'deleting', changed_at = :now
    WHERE n IN (SELECT n FROM volume WHERE pool_id = :pool AND state = :state
        AND (:any_version OR (image_version_id = :version) = :is_current)
        ORDER BY changed_at, n LIMIT :limit)
    RETURNING id, node
"""


def plan(
    transaction: Transaction,
    *,
    pool: ReplicaPool,
    version: ImageVersion,
    count: int,
    node: str,
    now: float,
) -> list[str]:
    """Insert ``count`` planned volumes with the operations that clone them; returns their ids.

    None where the version has begun to be deleted since it was read.
    """
    planned: list[str] = []
    row = transaction.session.get(tables.ImageVersion, version.id)
    if row is None or row.state != VersionState.READY:
        return planned
    slot = version.writable is None
    size_bytes = version.writable.size_bytes if version.writable else 0
    place = work_place(node=version.node, storage=version.storage)
    for _ in range(count):
        volume_id = str(uuid.uuid4())
        key = (volume_id, pool.id, version.id, node, version.storage, pool.spec.fabric)
        transaction.sql(_PLAN, (*key, slot, size_bytes, now, now))
        operations.add_for_volume(
            transaction, kind="clone_volume", volume_id=volume_id, node=place, now=now
        )
        planned.append(volume_id)
    return planned


def retire(
    transaction: Transaction,
    *,
    pool_id: str,
    version_id: str | None,
    is_current: bool | None,
    count: int,
    now: float,
    state: VolumeState = VolumeState.READY,
) -> list[str]:
    """Delete up to ``count`` of a pool's ready (or planned) volumes, the oldest first.

    ``is_current`` True takes those of ``version_id``, False the others, None any.
    """
    parameters = {
        "pool": pool_id,
        "version": version_id,
        "any_version": is_current is None,
        "is_current": is_current,
        "limit": count,
        "state": state.value,
        "now": now,
    }
    retired = transaction.sql(_RETIRE, parameters).fetchall()
    for volume_id, node in retired:
        operations.add_for_volume(
            transaction, kind="delete_volume", volume_id=volume_id, node=node, now=now
        )
    return [row[0] for row in retired]


def move(
    transaction: Transaction,
    *,
    volume: Volume,
    to: VolumeState,
    now: float,
    **columns: Any,
) -> None:
    """Move a volume on from the state and generation it was seen in.

    Raises FailedPrecondition when it moved in between, Internal for a move that is not allowed.
    """
    if to is not volume.state and to not in VOLUME_MOVES[volume.state]:
        raise Internal(f"volume {volume.id}: {volume.state} -> {to} is no allowed move")
    values: Mapping[str, Any] = {"state": to.value, "changed_at": now, **columns}
    assignments = ", ".join(f"{column} = :new_{column}" for column in values)
    parameters = {f"new_{column}": value for column, value in values.items()}
    parameters |= {"id": volume.id, "old": volume.state.value, "generation": volume.generation}
    cursor = transaction.sql(
        f"UPDATE volume SET {assignments} "  # noqa: S608 - column names are ours, values bound
        "WHERE id = :id AND state = :old AND generation = :generation",
        parameters,
    )
    if cursor.rowcount != 1:
        text = f"volume {volume.id} is no longer {volume.state} in generation {volume.generation}"
        raise FailedPrecondition(text, reason="MOVED")


def delete_later(transaction: Transaction, *, volume: Volume, now: float) -> None:
    """Move to deleting and ask for the deletion."""
    move(transaction, volume=volume, to=VolumeState.DELETING, now=now, scrub_run_id=None)
    operations.add_for_volume(
        transaction, kind="delete_volume", volume_id=volume.id, node=volume.node, now=now
    )


def forget(transaction: Transaction, *, volume_id: str) -> None:
    """The object is gone, and so is the row."""
    transaction.sql("DELETE FROM volume WHERE id = ? AND state = 'deleting'", (volume_id,))


_QUERY = (
    select(tables.Volume, tables.Pool.name, tables.ImageVersion.number)
    .join(tables.Pool, col(tables.Pool.id) == tables.Volume.pool_id)
    .join(tables.ImageVersion, col(tables.ImageVersion.id) == tables.Volume.image_version_id)
)


def find(session: Session, *, volume_id: str) -> Volume | None:
    """One volume."""
    found = session.exec(_QUERY.where(tables.Volume.id == volume_id)).first()
    return rows.volume(found[0], pool_name=found[1], image_version=found[2]) if found else None


def get(session: Session, *, volume_id: str) -> Volume:
    """One volume. Raises NotFound."""
    volume = find(session, volume_id=volume_id)
    if volume is None:
        text = (
            f"there is no volume {volume_id} any more, or there never was; `clonepool volume list` "
            "shows what there is, `clonepool scrub records` what was scrubbed"
        )
        raise NotFound(text)
    return volume


def list_page(
    session: Session, *, page: PageRequest, pool: str, state: str
) -> tuple[list[Volume], str]:
    """Oldest first."""
    query = _QUERY.where(col(tables.Volume.n) > page.row())
    if pool:
        query = query.where(tables.Pool.name == pool)
    if state:
        query = query.where(tables.Volume.state == state)
    found = session.exec(query.order_by(col(tables.Volume.n)).limit(page.size)).all()
    token = str(found[-1][0].n) if len(found) == page.size else ""
    return [rows.volume(row, pool_name=name, image_version=v) for row, name, v in found], token


def list_on_fabric(
    session: Session, *, fabric: str, node: str, states: Sequence[VolumeState]
) -> list[tuple[Volume, ImagePortion | None]]:
    """A node's volumes in given states, each with the portion that its shared copy is of."""
    query = (
        select(tables.Volume, tables.Pool.name, tables.ImageVersion)
        .join(tables.Pool, col(tables.Pool.id) == tables.Volume.pool_id)
        .join(tables.ImageVersion, col(tables.ImageVersion.id) == tables.Volume.image_version_id)
        .where(
            tables.Volume.fabric == fabric,
            tables.Volume.node == node,
            col(tables.Volume.state).in_(states),
        )
    )
    return [
        (
            rows.volume(row, pool_name=name, image_version=version.number),
            rows.version(version).read_only,
        )
        for row, name, version in session.exec(query)
    ]


def fabrics_in_use(session: Session, *, node: str) -> list[str]:
    """The fabrics that a node's volumes are exported on."""
    query = select(tables.Volume.fabric).where(tables.Volume.node == node)
    return list(session.exec(query.distinct()))


def has_idle(session: Session, *, node: str, storage: str) -> bool:
    """Whether a node has volumes on a storage that no server holds."""
    held = (VolumeState.ATTACHING, VolumeState.ALLOCATED, VolumeState.DETACHING)
    query = select(tables.Volume.id).where(
        tables.Volume.node == node,
        tables.Volume.storage == storage,
        col(tables.Volume.state).not_in(held),
    )
    return session.exec(query.limit(1)).first() is not None


def list_growing(session: Session, *, storage: str, node: str) -> list[tuple[str, int]]:
    """Volumes of a storage that servers may have written into: (id, generation).

    Of one node's storage, or, for "", of one that every node reaches.
    """
    query = select(tables.Volume.id, tables.Volume.generation).where(
        tables.Volume.storage == storage,
        tables.Volume.clone_kind != "",
        tables.Volume.state != VolumeState.DELETING.value,
        col(tables.Volume.slot).is_(False),
    )
    if node:
        query = query.where(tables.Volume.node == node)
    return list(session.exec(query))


def note_used(transaction: Transaction, *, used_bytes: Mapping[tuple[str, int], int]) -> None:
    """Write down what volumes hold to themselves, by id and generation."""
    for (volume_id, generation), used in used_bytes.items():
        transaction.sql(
            "UPDATE volume SET used_bytes = ? WHERE id = ? AND generation = ? AND used_bytes != ?",
            (used, volume_id, generation, used),
        )


# what is being deleted has no writer any more; what it holds is used until it is gone
_OWED = """
    SELECT coalesce(sum(CASE WHEN is_full THEN owed_bytes ELSE 0 END), 0),
        coalesce(sum(CASE WHEN is_full THEN 0 ELSE owed_bytes END), 0)
    FROM (
        SELECT size_bytes - used_bytes AS owed_bytes, CASE
            WHEN clone_kind != '' AND state NOT IN ('planned', 'cloning') THEN clone_kind = 'full'
            ELSE (SELECT clone_mode = 'full' OR clone_mode = 'auto' AND :auto_is_full
                FROM pool WHERE id = pool_id) END AS is_full
        FROM volume
        WHERE storage = :storage AND NOT slot AND state != 'deleting' AND used_bytes < size_bytes
            AND (node = :node OR :node = '')) AS growing
"""


def owed(session: Session, *, storage: str, node: str, auto_is_full: bool) -> Owed:
    """What the volumes on a storage may still be written by, those to be made included.

    Of one node's storage, or, for "", of one that every node reaches.
    """
    parameters = {"storage": storage, "node": node, "auto_is_full": auto_is_full}
    full_bytes, thin_bytes = session.connection().exec_driver_sql(_OWED, parameters).one()
    return Owed(full_bytes=int(full_bytes), thin_bytes=int(thin_bytes))
