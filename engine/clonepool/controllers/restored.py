"""A database that was put back from a backup: what is in doubt goes to nobody."""

from __future__ import annotations

import logging

from clonepool.domain.states import Severity
from clonepool.store import doubt, events
from clonepool.store.state import State
from clonepool.store.writer import Transaction

log = logging.getLogger(__name__)
_WHY = (
    "in doubt: the database was put back from a backup, and a server may have had this since; "
    "look at it, then scrub it (`clonepool volume retry`) or destroy it"
)


def set_aside(state: State, *, why: str) -> int:
    """Set aside whatever may have been used since the backup; returns how many volumes that is.

    Before anything else is done on this database. Repeated, it sets aside what was made since.
    """

    def change(transaction: Transaction) -> doubt.Doubt:
        now = state.clock()
        found = doubt.put_down(transaction, now=now, why=_WHY)
        events.add(
            transaction,
            now=now,
            subject="engine/database",
            reason="DATABASE_RESTORED",
            message=_message(why, found.volumes),
            severity=Severity.ERROR,
        )
        return found

    found = state.write(change)
    state.note_restore(found.restore_id)
    log.error("%s", _message(why, found.volumes))
    return found.volumes


def _message(why: str, volumes: int) -> str:
    return (
        f"{why}: {volumes} volumes that were ready or released are faulty, since servers may have "
        "had them after the backup, and orphans are kept; servers that are attached stay so. Look, "
        "then `clonepool scrub run POOL`, `clonepool volume retry|destroy ID` and "
        "`clonepool orphan delete STORAGE NAME`"
    )
