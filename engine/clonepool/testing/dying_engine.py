"""`clonepool` that kills itself at a crash point: a program for tests, and not `clonepool` itself.

Nothing else reads these variables, and no command of the engine's imports this module: an engine
that was started as `clonepool serve` can't be made to die by any of them.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from clonepool.crash_points import Point, observed

# the point to die at, `work.done` or, of one kind of operation, `work.done:scrub_volume`
DIE_AT: Final = "CLONEPOOL_TEST_DIE_AT"
# the point to stop at until the file is gone, `work.under_way=/path`
HOLD_AT: Final = "CLONEPOOL_TEST_HOLD_AT"
# where to write down that it died there
WITNESS: Final = "CLONEPOOL_TEST_WITNESS"
_POLL_S: Final = 0.01


class Fate:
    """Observes the crash points: holds the thread at one of them, ends the process at another."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._die_at = variables.get(DIE_AT, "")
        self._hold_at, _, hold = variables.get(HOLD_AT, "").partition("=")
        self._hold = Path(hold)
        self._witness = variables.get(WITNESS, "")

    def __call__(self, point: Point, detail: str) -> None:
        """Called at every point, by every thread."""
        names = {str(point), f"{point}:{detail}"}
        if self._hold_at in names:
            self._wait()
        if self._die_at in names:
            self._die()

    def _wait(self) -> None:
        if not self._hold.exists():
            return
        self._hold.with_suffix(".held").touch()
        while self._hold.exists():
            time.sleep(_POLL_S)

    def _die(self) -> None:
        Path(self._witness).write_text(self._die_at)
        os.kill(os.getpid(), signal.SIGKILL)
        # a signal to oneself arrives at once; nothing may happen in between
        time.sleep(60)


def main() -> int:
    """As `clonepool`, until it dies."""
    from clonepool.cli import main as command_line  # noqa: PLC0415 - observed from its first import

    with observed(Fate(os.environ)):
        return command_line()
