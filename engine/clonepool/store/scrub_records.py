"""Scrub records: who had a generation of a volume, and how its bytes were erased; never changed."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from sqlmodel import Session, col, select

from clonepool.domain import audit
from clonepool.domain.model import PageRequest, Volume
from clonepool.domain.read_back import ReadBack
from clonepool.domain.states import AfterScrub, ScrubMethod, VerifyMode
from clonepool.domain.work import ScrubRecord
from clonepool.store import audit as audit_chain
from clonepool.store import rows, tables
from clonepool.store.writer import Transaction

_OF_VOLUME = """
    SELECT last_user_name, last_user_kind, last_attachment_id, last_server, size_bytes,
        last_allocated_at, released_at
    FROM volume WHERE id = ? AND generation = ? AND state = 'scrubbing' AND NOT EXISTS (
        SELECT 1 FROM scrub_record WHERE volume_id = volume.id AND generation = volume.generation)
"""
_RECORD = """
    INSERT INTO scrub_record(volume_id, generation, pool_name, run_id, user_name, user_kind,
        attachment_id, server_name, method, after_scrub, size_bytes, allocated_at, released_at,
        started_at, finished_at, verify, result, expected, bytes_read, digest, hash)
    VALUES (:volume, :generation, :pool, :run, :user_name, :user_kind, :attachment, :server,
        :method, :after, :size_bytes, :allocated_at, :released_at, :started, :now, :verify,
        :result, :expected, :bytes_read, :digest, :hash)
"""


def record(
    transaction: Transaction,
    *,
    volume: Volume,
    method: ScrubMethod,
    after: AfterScrub,
    read_back: ReadBack,
    started_at: float,
    now: float,
) -> None:
    """Write down that this generation's bytes are erased, and what becomes of the volume.

    Written once: where the record is there already, nothing happens.
    """
    row = transaction.sql(_OF_VOLUME, (volume.id, volume.generation)).fetchone()
    if row is None:
        return
    values: dict[str, Any] = {
        "volume": volume.id,
        "generation": volume.generation,
        "pool": volume.pool_name,
        "run": volume.scrub_run_id,
        "user_name": row[0],
        "user_kind": row[1],
        "attachment": row[2],
        "server": row[3],
        "method": method.value,
        "after": after.value,
        "size_bytes": row[4],
        "allocated_at": row[5],
        "released_at": row[6],
        "started": started_at,
        "now": now,
        "verify": read_back.mode.value,
        "result": read_back.result,
        "expected": read_back.expected,
        "bytes_read": read_back.bytes_read,
        "digest": read_back.digest,
    }
    link = audit_chain.append(
        transaction, kind=audit.SCRUBBED, at=now, body=_body(values, read_back)
    )
    transaction.sql(_RECORD, values | {"hash": link})


def _body(values: dict[str, Any], read_back: ReadBack) -> dict[str, Any]:
    """What of a record goes into the chain: all of it."""
    user = rows.user(values["user_name"], values["user_kind"])
    same = ("volume", "generation", "pool", "run", "attachment", "server", "method", "size_bytes")
    return {name: values[name] for name in same} | {
        "system_user": audit.named_user(user),
        "then": values["after"],
        "allocated_at": audit.when(values["allocated_at"]),
        "released_at": audit.when(values["released_at"]),
        "started_at": audit.when(values["started"]),
        "finished_at": audit.when(values["now"]),
        "read_back": asdict(read_back),
    }


def note_read_back(transaction: Transaction, *, volume: Volume, read_back: ReadBack) -> None:
    """Keep what was read until the record is written: the object may be gone by then."""
    transaction.sql(
        "UPDATE volume SET read_back = ? WHERE id = ? AND generation = ? AND state = 'scrubbing'",
        (json.dumps(asdict(read_back)), volume.id, volume.generation),
    )


def noted_read_back(session: Session, *, volume: Volume) -> ReadBack | None:
    """What an attempt that was cut off has read of this generation."""
    query = select(tables.Volume.read_back).where(
        tables.Volume.id == volume.id, tables.Volume.generation == volume.generation
    )
    text = session.exec(query).first()
    if not text:
        return None
    document = json.loads(text)
    return ReadBack(**{**document, "mode": VerifyMode(document["mode"])})


def list_page(
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
