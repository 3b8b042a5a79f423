"""What is in doubt when the database was put back from a backup: written down in one change.

Since the backup was made, servers may have had what it calls ready, and gone on with what it calls
released; the storage may hold generations that it does not know.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from sqlmodel import Session

from clonepool.store.meta_keys import ORPHANS_HELD, RESTORED_AT, RESTORES
from clonepool.store.writer import Transaction

_SET = """
    INSERT INTO meta(key, value) VALUES (?, ?)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value
"""
_FIND = "SELECT value FROM meta WHERE key = ?"
# bytes of whoever had it since may be on it: it goes to nobody, nor is it erased, before somebody
# has looked
_FAULTY = """
    UPDATE volume SET state = 'faulty', released_at = coalesce(released_at, ?), changed_at = ?,
        error = ? WHERE state IN ('ready', 'released') AND NOT slot
"""
# its object may be there, handed out and written to: the row goes, the object is left alone
_UNMADE = "SELECT id FROM volume WHERE state IN ('planned', 'cloning') AND NOT slot"
_STORAGES = "SELECT DISTINCT storage FROM volume UNION SELECT DISTINCT storage FROM image"


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """How many volumes were set aside, and the id of this putting back."""

    volumes: int
    restore_id: str


def put_down(transaction: Transaction, *, now: float, why: str) -> Doubt:
    """Set aside what is in doubt; what was made before ``now`` is never reused after its scrub."""
    transaction.sql(_SET, (RESTORED_AT, repr(now)))
    set_aside = transaction.sql(_FAULTY, (now, now, why)).rowcount
    for (volume_id,) in transaction.sql(_UNMADE).fetchall():
        transaction.sql(
            "DELETE FROM operation WHERE key = ? AND state IN ('queued', 'running')", (volume_id,)
        )
        transaction.sql("UPDATE volume SET state = 'deleting' WHERE id = ?", (volume_id,))
        transaction.sql("DELETE FROM volume WHERE id = ?", (volume_id,))
    for (storage,) in transaction.sql(_STORAGES).fetchall():
        transaction.sql(_SET, (ORPHANS_HELD + storage, why))
    restore_id = str(uuid.uuid4())
    row = transaction.sql(_FIND, (RESTORES,)).fetchone()
    transaction.sql(_SET, (RESTORES, ",".join([*(row or ()), restore_id])))
    return Doubt(volumes=set_aside, restore_id=restore_id)


def is_older(session: Session, *, created_at: float) -> bool:
    """Whether something was made before the database was put back for the last time.

    Its next generation may be on the storage already, with somebody's bytes.
    """
    row = session.connection().exec_driver_sql(_FIND, (RESTORED_AT,)).first()
    return row is not None and created_at <= float(row[0])


def why_strays_are_held(session: Session, *, storage: str) -> str:
    """The reason to keep what is found on a storage without a row, "" for none."""
    row = session.connection().exec_driver_sql(_FIND, (ORPHANS_HELD + storage,)).first()
    return row[0] if row else ""


def strays_were_held(transaction: Transaction, *, storage: str) -> None:
    """They are in quarantine now: what is found later is of later."""
    transaction.sql("DELETE FROM meta WHERE key = ?", (ORPHANS_HELD + storage,))
