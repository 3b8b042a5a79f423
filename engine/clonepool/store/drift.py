"""What storages and fabrics are compared with, by hand-written reads: pools have thousands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlmodel import Session

from clonepool.domain import names
from clonepool.domain.drift import PortionRow, StorageRows, VolumeRow
from clonepool.domain.states import PortionRole, VersionState, VolumeState
from clonepool.store.writer import Transaction

_VOLUMES = "SELECT id, generation, state, slot, size_bytes, changed_at, error FROM volume"
_VERSIONS = """
    SELECT v.id, v.image_id, i.name, v.number, v.state, v.ro_object, v.ro_size_bytes,
        v.rw_object, v.rw_size_bytes, v.error
    FROM image_version v JOIN image i ON i.id = v.image_id WHERE v.storage = ?
"""
_ON_NODE = "AND (? = '' OR node = ?)"
# nobody used these bytes: the scrub that makes the volume usable again must not name a user
_OUT_OF_SERVICE = {
    VolumeState.READY: """
        UPDATE volume SET state = 'faulty', error = :error, changed_at = :now, released_at = :now,
            last_attachment_id = '', last_user_name = NULL, last_user_kind = NULL,
            last_server = '', last_allocated_at = NULL
        WHERE id = :id AND generation = :generation AND state = 'ready'
            AND changed_at = :changed_at
    """,
    VolumeState.RELEASED: """
        UPDATE volume SET state = 'faulty', error = :error, changed_at = :now
        WHERE id = :id AND generation = :generation AND state = 'released'
            AND changed_at = :changed_at
    """,
}
_NOTE = """
    UPDATE volume SET error = :error WHERE id = :id AND generation = :generation
        AND state = :state AND error != :error
"""
_POOLS_OF_VERSION = """
    SELECT p.id, p.name, p.stopped_reason FROM pool p JOIN image i ON i.id = p.image_id
    WHERE p.deleted_at IS NULL AND i.id = :image AND CASE p.image_version
        WHEN 0 THEN i.current_version_id = :version ELSE p.image_version = :number END
"""
_HOLDER = """
    SELECT a.name, s.name FROM attachment a JOIN server s ON s.id = a.server_id
    WHERE a.volume_id = ?
"""


def rows_of_storage(session: Session, *, storage: str, node: str) -> StorageRows:
    """Everything that should or may be on a storage of a node, or, for "", on one of all nodes."""
    connection = session.connection()
    values = (storage, node, node)
    found = connection.exec_driver_sql(f"{_VOLUMES} WHERE storage = ? {_ON_NODE}", values)
    versions = connection.exec_driver_sql(f"{_VERSIONS} {_ON_NODE}", values)
    return StorageRows(
        volumes=frozenset(_volume(row) for row in found),
        portions=frozenset(portion for row in versions for portion in _portions(row)),
    )


def rows_of_fabric(session: Session, *, fabric: str, node: str) -> frozenset[VolumeRow]:
    """The volumes that are, may be or must not be exported on a fabric of a node."""
    found = session.connection().exec_driver_sql(
        f"{_VOLUMES} WHERE fabric = ? AND node = ?", (fabric, node)
    )
    return frozenset(_volume(row) for row in found)


def _volume(row: Any) -> VolumeRow:
    return VolumeRow(
        id=row[0],
        generation=row[1],
        state=VolumeState(row[2]),
        name=names.volume_object(volume_id=row[0], generation=row[1]),
        slot=bool(row[3]),
        size_bytes=row[4],
        changed_at=row[5],
        error=row[6],
    )


def _portions(row: Any) -> Sequence[PortionRow]:
    serves = row[4] == VersionState.READY
    sizes = {
        PortionRole.READ_ONLY: (row[5] is not None, row[6]),
        PortionRole.WRITABLE: (row[7] is not None, row[8]),
    }
    return [
        PortionRow(
            version_id=row[0],
            image_id=row[1],
            image=row[2],
            number=row[3],
            name=names.portion_object(version_id=row[0], role=role),
            size_bytes=size_bytes,
            is_resting=serves and has_portion,
            error=row[9],
        )
        for role, (has_portion, size_bytes) in sizes.items()
    ]


def take_out_of_service(
    transaction: Transaction, *, row: VolumeRow, error: str, now: float
) -> bool:
    """Make a ready or released volume faulty, unless somebody works on it since it was looked at.

    A scrub can take it from there, as it takes one that could not be scrubbed.
    """
    values = {
        "id": row.id,
        "generation": row.generation,
        "changed_at": row.changed_at,
        "error": error,
        "now": now,
    }
    return transaction.sql(_OUT_OF_SERVICE[row.state], values).rowcount == 1


def note_volume(transaction: Transaction, *, row: VolumeRow, error: str) -> bool:
    """Write what is wrong with a volume ("": nothing); False when that is known, or it moved on."""
    values = {
        "id": row.id,
        "generation": row.generation,
        "state": row.state.value,
        "error": error,
    }
    return transaction.sql(_NOTE, values).rowcount == 1


def holder_of(transaction: Transaction, *, volume_id: str) -> tuple[str, str]:
    """The attachment that holds a volume and its server, by name; empty when there is none."""
    found = transaction.sql(_HOLDER, (volume_id,)).fetchone()
    return (found[0], found[1]) if found else ("", "")


def note_version(transaction: Transaction, *, row: PortionRow, error: str) -> bool:
    """Write what is wrong with a version that serves; False when that is known, or it is gone."""
    statement = (
        "UPDATE image_version SET error = :error "
        "WHERE id = :version AND state = 'ready' AND error != :error"
    )
    return transaction.sql(statement, {"error": error, "version": row.version_id}).rowcount == 1


def pools_of_version(transaction: Transaction, *, row: PortionRow) -> list[tuple[str, str, str]]:
    """The live pools whose new replicas are of a version: (id, name, why it stopped)."""
    values = {"image": row.image_id, "version": row.version_id, "number": row.number}
    return transaction.sql(_POOLS_OF_VERSION, values).fetchall()
