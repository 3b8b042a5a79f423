"""The database's clock, read now and then: leases of several nodes are by one clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

# a reading that took longer says too little
_CLOSE_S = 0.05
_ATTEMPTS = 3
_KEEP_S = 10.0


def _steady() -> float:
    # goes on while the machine sleeps, and nobody can set it
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class DatabaseClock:
    """POSIX seconds of the database: its last reading, and what has passed here since.

    Wrong by half of what a reading takes, and by what two machines' clocks drift apart in ten
    seconds. ``read`` asks the database.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ahead_s = 0.0
        self._read_at: float | None = None

    def __call__(self) -> float:
        """The database's time now."""
        with self._lock:
            return _steady() + self._ahead_s

    @property
    def is_stale(self) -> bool:
        """Whether it is time to ask the database again."""
        return self._read_at is None or _steady() - self._read_at > _KEEP_S

    def ask(self, read: Callable[[], float]) -> None:
        """Read the database's clock; of a few readings the one counts that took least."""
        best: tuple[float, float] | None = None
        for _attempt in range(_ATTEMPTS):
            before = _steady()
            at = read()
            took_s = _steady() - before
            if best is None or took_s < best[0]:
                best = (took_s, at - before - took_s / 2)
            if took_s < _CLOSE_S:
                break
        assert best is not None  # noqa: S101 - there is one attempt at least
        with self._lock:
            self._ahead_s = best[1]
            self._read_at = _steady()
