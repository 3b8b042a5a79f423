"""The level-triggered loop: compares what is with what should be, for each kind of thing."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from clonepool.controllers.context import Context
from clonepool.errors import ClonepoolError

log = logging.getLogger(__name__)
# looks at least so often, woken or not
_INTERVAL_S = 1.0
# and at most so often: a burst of allocations is planned for once, not a thousand times
_GAP_S = 0.02
# and rests so many times as long as it computed: counting a large pool must not starve its callers.
# To wait, for a locked database or a slow storage, is no reason to rest
_REST_SHARE = 9


class Planner:
    """One thread that runs each step in turn; a step that fails is tried again, others go on."""

    def __init__(self, context: Context, steps: Sequence[Callable[[], None]]) -> None:
        self._context = context
        self._steps = steps
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="planner", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the step at hand and end."""
        self._stopping.set()
        self._context.signals.plan.set()
        if self._thread.is_alive():
            self._thread.join()

    def run_once(self) -> None:
        """Every step once."""
        for step in self._steps:
            if self._stopping.is_set():
                return
            try:
                step()
            except ClonepoolError as error:
                log.warning("planning: %s", error)
            except Exception:
                log.exception("planning failed in %s", getattr(step, "__qualname__", step))

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._context.signals.plan.wait(_INTERVAL_S)
            self._context.signals.plan.clear()
            began_at = time.thread_time()
            self.run_once()
            computed_s = time.thread_time() - began_at
            self._stopping.wait(max(_GAP_S, _REST_SHARE * computed_s))
