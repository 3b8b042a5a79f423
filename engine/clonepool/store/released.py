"""Attachments that ended, kept whole while their volumes are released: to undo, or to resume."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clonepool.store.writer import Transaction

# as JSON, so that it does not matter which columns an attachment has; times as texts, since
# SQLite's JSON rounds numbers to 15 digits, and a time that moved would look like drift
_KEEP = """
    INSERT INTO released_attachment(volume_id, generation, attachment_id, name, pool_id, user_name,
        user_kind, released_at, superseded, attachment, server)
    SELECT a.volume_id, a.volume_generation, a.id, a.name, a.pool_id, a.user_name, a.user_kind,
        :now, FALSE,
        json_object('id', a.id, 'name', a.name, 'pool', a.pool_id, 'server_id', a.server_id,
            'user_name', a.user_name, 'user_kind', a.user_kind, 'warm', a.warm,
            'volume', a.volume_id, 'generation', a.volume_generation, 'number', a.image_version,
            'spec', a.spec, 'chap_mode', a.chap_mode, 'chap_username', a.chap_username,
            'chap_secret', a.chap_secret, 'force_detach', a.force_detach, 'token', a.token,
            'digest', a.token_digest, 'created_at', printf('%!.17g', a.created_at),
            'allocated_at', printf('%!.17g', a.allocated_at)),
        json_object('id', s.id, 'name', s.name, 'initiator', s.initiator, 'labels', s.labels,
            'inline', s.inline)
    FROM attachment a JOIN server s ON s.id = a.server_id WHERE a.id = :id
    ON CONFLICT (volume_id) DO UPDATE SET generation = excluded.generation,
        attachment_id = excluded.attachment_id, name = excluded.name,
        pool_id = excluded.pool_id, user_name = excluded.user_name,
        user_kind = excluded.user_kind, released_at = excluded.released_at, superseded = FALSE,
        attachment = excluded.attachment, server = excluded.server
"""
_FIND = """
    SELECT r.volume_id, r.generation, r.attachment_id, r.name, r.released_at, r.attachment,
        r.server, v.state, v.pool_id, p.name, p.deleted_at IS NULL
    FROM released_attachment r JOIN volume v ON v.id = r.volume_id JOIN pool p ON p.id = v.pool_id
"""
_RESUMABLE = """
    SELECT r.volume_id, r.generation, r.released_at, i.number
    FROM released_attachment r JOIN volume v ON v.id = r.volume_id
        JOIN image_version i ON i.id = v.image_version_id
    WHERE r.name = :name AND r.pool_id = :pool AND r.user_name = :user_name
        AND r.user_kind = :user_kind AND NOT r.superseded AND v.state = 'released'
        AND v.generation = r.generation AND v.pool_id = :pool
        AND v.last_attachment_id = r.attachment_id AND v.last_user_name = :user_name
        AND v.last_user_kind = :user_kind
    ORDER BY r.released_at DESC LIMIT 1
"""
_BACK = """
    UPDATE volume SET state = 'attaching', attachment_id = :attachment, changed_at = :now,
        last_attachment_id = :attachment, last_user_name = :user_name, last_user_kind = :user_kind,
        last_server = :server, last_allocated_at = :now, released_at = NULL
    WHERE id = :volume AND generation = :generation AND state = 'released'
        AND last_user_name = :user_name AND last_user_kind = :user_kind
"""


@dataclass(frozen=True, kw_only=True)
class Resumable:
    """A released volume that goes back to who had it."""

    volume_id: str
    generation: int
    released_at: float
    image_version: int


def keep(transaction: Transaction, *, attachment_id: str, name: str, now: float) -> None:
    """Remember an attachment that ends; of its name, only the last one can be resumed."""
    transaction.sql("UPDATE released_attachment SET superseded = TRUE WHERE name = ?", (name,))
    transaction.sql(_KEEP, {"id": attachment_id, "now": now})


def forget_of_run(transaction: Transaction, *, run_id: str) -> None:
    """What is scrubbed can't come back; a sealed secret is not kept for nothing."""
    transaction.sql(
        "DELETE FROM released_attachment "
        "WHERE volume_id IN (SELECT id FROM volume WHERE scrub_run_id = ?)",
        (run_id,),
    )


def forget(transaction: Transaction, *, volume_id: str) -> None:
    """The volume is with its user again."""
    transaction.sql("DELETE FROM released_attachment WHERE volume_id = ?", (volume_id,))


def find(transaction: Transaction, *, column: str, value: str) -> tuple[Any, ...] | None:
    """The newest of a ``volume_id``, ``attachment_id`` or ``name``, the last of its name first."""
    row: tuple[Any, ...] | None = transaction.sql(
        f"{_FIND} WHERE r.{column} = ? ORDER BY r.superseded, r.released_at DESC LIMIT 1",
        (value,),
    ).fetchone()
    return row


def find_resumable(transaction: Transaction, values: dict[str, Any]) -> Resumable | None:
    """What the last attachment of this name, pool and system user left, if it is still there."""
    row = transaction.sql(_RESUMABLE, values).fetchone()
    if row is None:
        return None
    return Resumable(volume_id=row[0], generation=row[1], released_at=row[2], image_version=row[3])


def give_back(
    transaction: Transaction, values: dict[str, Any], *, volume_id: str, generation: int
) -> bool:
    """Move a released volume to the attachment of ``values``; False when it has moved on."""
    parameters = {**values, "volume": volume_id, "generation": generation}
    moved = transaction.sql(_BACK, parameters).rowcount == 1
    if moved:
        forget(transaction, volume_id=volume_id)
    return moved
