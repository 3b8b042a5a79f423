"""What one clone is made of: a single read by hand, since pools are filled by the thousand.

Through the tables' classes it was five reads and most of what a replica cost the processor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlmodel import Session

from clonepool.domain.model import ImagePortion, Volume
from clonepool.domain.states import CloneMode
from clonepool.store import pool_version, rows

_FIND = f"""
    SELECT v.*, p.name AS pool_name, p.clone_mode, p.deleted_at AS pool_deleted_at,
        w.number AS version_number, w.ro_object, w.ro_size_bytes, w.ro_digest,
        w.rw_object, w.rw_size_bytes, w.rw_digest,
        (SELECT id FROM image_version WHERE state = 'ready' AND id = {pool_version.ID}
        ) AS wanted_version_id
    FROM volume v JOIN pool p ON p.id = v.pool_id JOIN image i ON i.id = p.image_id
        JOIN image_version w ON w.id = v.image_version_id
    WHERE v.id = ?
"""  # noqa: S608 - texts of ours, values bound


@dataclass(frozen=True, kw_only=True)
class CloneWork:
    """A volume with what it is to be cloned from.

    ``is_wanted`` is False when its pool is going, or when the pool's new replicas are of another
    version by now: it would be given up as soon as it is ready, if it ever can be.
    """

    volume: Volume
    mode: CloneMode
    read_only: ImagePortion | None
    writable: ImagePortion | None
    is_wanted: bool


def find(session: Session, *, volume_id: str) -> CloneWork | None:
    """The work for one volume; None when it is gone."""
    row: Any = session.connection().exec_driver_sql(_FIND, (volume_id,)).first()
    if row is None:
        return None
    other_version = row.wanted_version_id not in {None, row.image_version_id}
    return CloneWork(
        volume=rows.volume(row, pool_name=row.pool_name, image_version=row.version_number),
        mode=CloneMode(row.clone_mode),
        read_only=rows.portion(row.ro_object, row.ro_size_bytes, row.ro_digest),
        writable=rows.portion(row.rw_object, row.rw_size_bytes, row.rw_digest),
        is_wanted=row.pool_deleted_at is None and not other_version,
    )
