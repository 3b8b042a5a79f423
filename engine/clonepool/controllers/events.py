"""Events, kept and watched."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from clonepool.controllers.context import Context
from clonepool.domain.work import Event
from clonepool.store import events, operations

# a watcher looks so often; an event is seen at most that much later
_LOOK_INTERVAL_S = 0.25
_PRUNE_INTERVAL_S = 300.0


class Events:
    """Reads of events; a wait for the next one."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._pruned_at = context.now()
        self._tick = threading.Event()

    def list(self, *, after_id: int, limit: int, subject_prefix: str = "") -> Sequence[Event]:
        """Events after ``after_id``, oldest first."""
        with self._context.state.read() as session:
            return events.list_after(
                session, after_id=after_id, limit=limit, subject_prefix=subject_prefix
            )

    def wait(self, *, after_id: int, timeout_s: float) -> bool:
        """Block until there is an event after ``after_id``; False when the time is over."""
        deadline = time.monotonic() + timeout_s
        while True:
            with self._context.state.read() as session:
                if events.newest_id(session) > after_id:
                    return True
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            self._tick.wait(min(_LOOK_INTERVAL_S, left_s))

    def prune(self) -> None:
        """Planner's step: forget the oldest events and ended operations now and then."""
        if abs(self._context.now() - self._pruned_at) < _PRUNE_INTERVAL_S:
            return
        self._pruned_at = self._context.now()
        self._context.state.write(events.prune)
        self._context.state.write(operations.prune)
