"""Giving back: intent, then (outside) revoke and unexport, then released."""

from __future__ import annotations

import json
from collections.abc import Sequence

from clonepool.domain import audit
from clonepool.store import allocation_servers, operations, released
from clonepool.store import audit as audit_chain
from clonepool.store.attachments import Held
from clonepool.store.writer import Transaction

_RELEASED = """
    UPDATE volume SET state = 'released', attachment_id = NULL, released_at = :now,
        changed_at = :now
    WHERE attachment_id = :id AND state = 'detaching' AND NOT slot
    RETURNING generation, last_allocated_at
"""
_SLOT_AGAIN = """
    UPDATE volume SET state = 'cloning', generation = generation + 1, attachment_id = NULL,
        changed_at = :now
    WHERE attachment_id = :id AND state = 'detaching' AND slot RETURNING id
"""


def mark_allocated(transaction: Transaction, *, attachment_ids: Sequence[str], now: float) -> None:
    """The grants are done. A release that came in between wins."""
    transaction.sql(
        "UPDATE volume SET state = 'allocated', changed_at = ? "
        "WHERE attachment_id IN (SELECT value FROM json_each(?)) AND state = 'attaching'",
        (now, json.dumps(attachment_ids)),
    )


def begin(transaction: Transaction, *, attachment_id: str, now: float) -> bool:
    """Note the intent to release; False when the attachment is gone or still waiting."""
    cursor = transaction.sql(
        "UPDATE attachment SET state = 'detaching', changed_at = ? "
        "WHERE id = ? AND state = 'attached'",
        (now, attachment_id),
    )
    transaction.sql(
        "UPDATE volume SET state = 'detaching', changed_at = ? "
        "WHERE attachment_id = ? AND state IN ('attaching', 'allocated')",
        (now, attachment_id),
    )
    return cursor.rowcount == 1


def finish(transaction: Transaction, *, held: Held, now: float) -> None:
    """Nothing reaches the volume any more: released, or, a slot, made anew at once."""
    values = {"id": held.attachment.id, "now": now}
    row = transaction.sql(_RELEASED, values).fetchone()
    if row is not None:
        _note(transaction, held=held, generation=row[0], allocated_at=row[1], now=now)
    else:
        for (volume_id,) in transaction.sql(_SLOT_AGAIN, values).fetchall():
            operations.add_for_volume(
                transaction, kind="clone_volume", volume_id=volume_id, node=held.node, now=now
            )
    _forget(transaction, held=held)


def _note(
    transaction: Transaction, *, held: Held, generation: int, allocated_at: float, now: float
) -> None:
    """Into the audit's chain, and kept whole in case it comes back."""
    attachment = held.attachment
    body = {
        "volume": attachment.volume_id,
        "generation": generation,
        "pool": attachment.spec.pool,
        "attachment": attachment.id,
        "attachment_name": attachment.spec.name,
        "system_user": audit.named_user(attachment.system_user),
        "server": attachment.server_name,
        "allocated_at": audit.when(allocated_at),
        "released_at": audit.when(now),
    }
    audit_chain.append(transaction, kind=audit.HELD, at=now, body=body)
    released.keep(transaction, attachment_id=attachment.id, name=attachment.spec.name, now=now)


def drop_waiting(transaction: Transaction, *, held: Held) -> None:
    """Take an attachment that holds nothing out of the queue."""
    row = transaction.sql(
        "SELECT 1 FROM attachment WHERE id = ? AND state = 'waiting'", (held.attachment.id,)
    ).fetchone()
    if row is not None:
        _forget(transaction, held=held)


def drop_expired_waiters(transaction: Transaction, *, now: float) -> list[tuple[str, str]]:
    """Waiters whose caller went away; returns (name, pool's name)."""
    found = transaction.sql(
        "SELECT a.id, a.name, a.server_id, p.name FROM attachment a "
        "JOIN pool p ON p.id = a.pool_id WHERE a.state = 'waiting' AND a.lease_until < ?",
        (now,),
    ).fetchall()
    for attachment_id, _name, server_id, _pool in found:
        transaction.sql("DELETE FROM attachment WHERE id = ?", (attachment_id,))
        allocation_servers.vacate(transaction, server_id=server_id)
    return [(row[1], row[3]) for row in found]


def _forget(transaction: Transaction, *, held: Held) -> None:
    transaction.sql("DELETE FROM attachment WHERE id = ?", (held.attachment.id,))
    allocation_servers.vacate(transaction, server_id=held.attachment.server_id)
