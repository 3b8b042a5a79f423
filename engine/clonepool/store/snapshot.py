"""All that a forecast looks at, read in one transaction."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlmodel import Session, col, select

from clonepool.domain.forecast import (
    AttachmentView,
    ImageView,
    PoolView,
    ReleasedView,
    ServerView,
    Snapshot,
    TicketView,
    VersionView,
)
from clonepool.domain.model import ServerSpec
from clonepool.store import holds, rows, tables

_VOLUMES = """
    SELECT v.pool_id, v.state, i.number, v.after_scrub, count(*)
    FROM volume v JOIN image_version i ON i.id = v.image_version_id
    GROUP BY v.pool_id, v.state, i.number, v.after_scrub
"""
_RELEASED = """
    SELECT v.pool_id, v.size_bytes, v.released_at, r.name, r.user_name, r.user_kind, i.number
    FROM volume v JOIN image_version i ON i.id = v.image_version_id
        LEFT JOIN released_attachment r ON r.volume_id = v.id AND NOT r.superseded
            AND r.generation = v.generation AND r.attachment_id = v.last_attachment_id
    WHERE v.state = 'released' ORDER BY v.released_at, v.n
"""
_WAITING = "SELECT pool_id, count(*) FROM attachment WHERE state = 'waiting' GROUP BY pool_id"
_ATTACHMENTS = """
    SELECT a.name, p.name, s.name, coalesce(i.number, 0), coalesce(v.slot, FALSE),
        coalesce(v.size_bytes, 0), a.user_name, a.user_kind
    FROM attachment a JOIN pool p ON p.id = a.pool_id JOIN server s ON s.id = a.server_id
    LEFT JOIN volume v ON v.id = a.volume_id LEFT JOIN image_version i ON i.id = v.image_version_id
    ORDER BY a.n
"""
# how long the newest clones kept the engine: each from its request, or from the end of the one
# before where that came later; clones that ran side by side share the time
_CLONES = """
    SELECT o.created_at, o.finished_at FROM operation o JOIN volume v ON v.id = o.key
    WHERE o.kind = 'clone_volume' AND o.state = 'done' AND v.pool_id = ?
    ORDER BY o.finished_at DESC LIMIT 51
"""
_MAKING = ("planned", "cloning")
_HELD = ("attaching", "allocated", "detaching")


def read(session: Session, *, now: float) -> Snapshot:
    """What the database knows; storages and fabrics are left to who can ask them."""
    return Snapshot(
        at=now,
        images=_images(session),
        pools=_pools(session, now=now),
        servers=_servers(session),
        attachments=_attachments(session),
    )


def _images(session: Session) -> tuple[ImageView, ...]:
    """Every live image with its versions that are ready."""
    query = select(tables.Image).where(col(tables.Image.deleted_at).is_(None))
    versions = defaultdict(list)
    for version in session.exec(
        select(tables.ImageVersion).order_by(col(tables.ImageVersion.number))
    ):
        versions[version.image_id].append(version)
    return tuple(_image(row, versions[row.id]) for row in session.exec(query))


def _image(row: tables.Image, versions: Sequence[tables.ImageVersion]) -> ImageView:
    latest = max(versions, key=lambda version: version.number)
    current = [version.number for version in versions if version.id == row.current_version_id]
    return ImageView(
        name=row.name,
        system_user=rows.user(row.user_name, row.user_kind),
        storage=row.storage,
        current=current[0] if current else 0,
        latest=latest.number,
        content=latest.content_digest,
        versions=tuple(
            VersionView(
                number=version.number,
                writable_bytes=version.rw_size_bytes if version.rw_object else None,
            )
            for version in versions
            if version.state == "ready"
        ),
    )


def _pools(session: Session, *, now: float) -> tuple[PoolView, ...]:
    """Every live pool; ``full_clones`` is left to who knows the storages."""
    counts: dict[str, dict[str, Any]] = defaultdict(_no_volumes)
    connection = session.connection()
    for pool_id, state, number, after_scrub, count in connection.exec_driver_sql(_VOLUMES):
        _count(counts[pool_id], state, number, after_scrub, count)
    for pool_id, *released in connection.exec_driver_sql(_RELEASED):
        counts[pool_id]["released"] += (_released(released, now=now),)
    for pool_id, count in connection.exec_driver_sql(_WAITING):
        counts[pool_id]["waiting"] = count
    for pool_id, ticket, remaining in holds.active(session, now=now):
        counts[pool_id]["tickets"] += (TicketView(ticket=ticket, remaining=remaining),)
    query = select(tables.Pool).where(col(tables.Pool.deleted_at).is_(None))
    return tuple(
        PoolView(
            spec=rows.pool_spec(row),
            stopped_reason=row.stopped_reason,
            **counts[row.id],
            **_clone_rate(session, row.id),
        )
        for row in session.exec(query.order_by(col(tables.Pool.name)))
    )


def _released(row: Sequence[Any], *, now: float) -> ReleasedView:
    size_bytes, released_at, name, user_name, user_kind, number = row
    return ReleasedView(
        size_bytes=size_bytes,
        age_s=now - released_at,
        attachment=name or "",
        system_user=rows.user(user_name, user_kind),
        image_version=number,
    )


def _no_volumes() -> dict[str, Any]:
    return {
        "ready": {},
        "making": {},
        "held": {},
        "recycling": 0,
        "destroying": 0,
        "released": (),
        "waiting": 0,
        "tickets": (),
    }


def _count(counts: dict[str, Any], state: str, number: int, after_scrub: str, count: int) -> None:
    group = "making" if state in _MAKING else "held" if state in _HELD else state
    if state == "scrubbing":
        counts["recycling" if after_scrub == "recycle" else "destroying"] += count
    elif group in ("ready", "making", "held"):
        counts[group][number] = counts[group].get(number, 0) + count


def _clone_rate(session: Session, pool_id: str) -> dict[str, Any]:
    found = session.connection().exec_driver_sql(_CLONES, (pool_id,)).all()
    ends = [finished_at for _created_at, finished_at in found]
    took_s = [
        finished_at - max(created_at, before)
        for (created_at, finished_at), before in zip(found, [*ends, 0.0][1:], strict=True)
    ]
    return {
        "clone_s": sum(took_s) / len(took_s) if took_s else None,
        "clones_seen": len(took_s),
    }


def _servers(session: Session) -> tuple[ServerView, ...]:
    """Every server, in the order in which a selector picks them."""
    query = select(tables.Server).order_by(col(tables.Server.created_at), col(tables.Server.id))
    return tuple(
        ServerView(
            spec=ServerSpec(
                name=row.name, initiator=row.initiator or "", labels=json.loads(row.labels)
            ),
            system_user=rows.user(row.user_name, row.user_kind),
            inline=row.inline,
        )
        for row in session.exec(query)
    )


def _attachments(session: Session) -> tuple[AttachmentView, ...]:
    """Every attachment, the oldest first; ``busy`` is left to who can ask the fabric."""
    return tuple(
        AttachmentView(
            name=row[0],
            pool=row[1],
            server=row[2],
            image_version=row[3],
            slot=bool(row[4]),
            size_bytes=row[5],
            system_user=rows.user(row[6], row[7]),
        )
        for row in session.connection().exec_driver_sql(_ATTACHMENTS)
    )
