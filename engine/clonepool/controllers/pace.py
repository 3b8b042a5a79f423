"""One pace for all scrubs of an engine: so many bytes a second together; servers go first."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from clonepool.backends.base import Progress


class Pace:
    """Says how long to wait after some bytes; ``bytes_s`` 0 is no limit. Thread-safe."""

    def __init__(self, *, bytes_s: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._bytes_s = bytes_s
        self._clock = clock
        self._free_at = 0.0
        self._lock = threading.Lock()

    def delay_s(self, done_bytes: int) -> float:
        """Seconds to wait after ``done_bytes`` more, so that the pace is kept."""
        if not self._bytes_s or done_bytes <= 0:
            return 0.0
        with self._lock:
            now = self._clock()
            self._free_at = max(now, self._free_at) + done_bytes / self._bytes_s
            return self._free_at - now

    def kept(self, progress: Progress, *, wait: Callable[[float], None]) -> Progress:
        """A progress that keeps the pace; each piece of work needs one of its own."""
        seen = 0

        def report(done_bytes: int) -> None:
            nonlocal seen
            progress(done_bytes)
            delay_s = self.delay_s(done_bytes - seen)
            seen = done_bytes
            if delay_s > 0:
                wait(delay_s)

        return report
