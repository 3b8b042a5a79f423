"""A process by its id and start time: an id alone may long stand for another process."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

_POLL_S: Final = 0.01
# /proc/PID/stat, counted from the field after the name in brackets, which is field 3
_STATE, _START_TICKS = 0, 22 - 3


@cache
def boot_id() -> str:
    """This boot of the machine: start times count from it."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@dataclass(frozen=True, kw_only=True)
class Process:
    """One process; ``start_ticks`` is field 22 of /proc/PID/stat."""

    pid: int
    start_ticks: int

    @classmethod
    def find(cls, pid: int) -> Process | None:
        """The process that has this id now, or None (zombies count as gone)."""
        found, zombie = _read(pid)
        return None if zombie else found

    def is_alive(self) -> bool:
        """Whether exactly this process still runs; microseconds."""
        found, zombie = _read(self.pid)
        if found == self and zombie:
            # started by this engine and dead: nobody else will collect it
            with suppress(ChildProcessError):
                os.waitpid(self.pid, os.WNOHANG)
        return found == self and not zombie

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal to exactly this process; False when it is gone.

        The descriptor pins the process between the check and the signal, so that a process which
        got the id meanwhile is never hit.
        """
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            if not self.is_alive():
                return False
            signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(descriptor)
        return True

    def wait_gone(self, *, timeout_s: float) -> bool:
        """Wait until it is gone; False when it still runs after ``timeout_s``."""
        deadline = time.monotonic() + timeout_s
        while self.is_alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        return True


def _read(pid: int) -> tuple[Process | None, bool]:
    """The process with this id, and whether it is a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text() if pid > 0 else ""
    except OSError:
        return None, False
    fields = stat.rpartition(")")[2].split()
    if not fields:
        return None, False
    return Process(pid=pid, start_ticks=int(fields[_START_TICKS])), fields[_STATE] in "ZX"
