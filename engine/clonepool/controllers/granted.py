"""Notes of grants: that a volume is allocated is written with somebody else's commit."""

from __future__ import annotations

import threading
from concurrent.futures import Future

from clonepool.controllers.context import Context
from clonepool.store import release
from clonepool.store.writer import Transaction


class GrantedNotes:
    """Not waited for: the claim is durable, and after a crash, or an outage, it is granted again.

    What is granted until the next commit is noted by one change.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._lock = threading.Lock()
        self._granted: list[str] = []
        self._is_asked_for = False

    def note(self, attachment_id: str) -> None:
        """Have it written that an attachment's volume is allocated."""
        with self._lock:
            self._granted.append(attachment_id)
            if self._is_asked_for:
                return
            self._is_asked_for = True
        self._context.state.defer(self._write).add_done_callback(self._written)

    def _write(self, transaction: Transaction) -> None:
        with self._lock:
            granted, self._granted = self._granted, []
            self._is_asked_for = False
        release.mark_allocated(transaction, attachment_ids=granted, now=self._context.now())

    def _written(self, written: Future[None]) -> None:
        if written.exception() is not None:
            # perhaps it never ran, where the database was away: the next one has to ask again
            with self._lock:
                self._is_asked_for = False
