"""One engine a state folder: a lock that a killed engine's running commands keep holding."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from clonepool import commands
from clonepool.errors import FailedPrecondition

# a killed engine's last storage command may still run for a moment
_WAIT_S = 10.0
_LOOK_INTERVAL_S = 0.1


class HostLock:
    """An flock whose descriptor every outside command inherits.

    Without that a second engine could enter while a killed engine's child still writes.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def acquire(self, *, wait_s: float = _WAIT_S) -> None:
        """Take the lock. Raises FailedPrecondition naming who has it."""
        deadline = time.monotonic() + wait_s
        while not self._try():
            if time.monotonic() > deadline:
                holder = self._path.read_text().strip() or "unknown"
                os.close(self._descriptor)
                text = (
                    f"another engine (pid {holder}) uses {self._path.parent}; stop it, or give "
                    "this one a state folder of its own (--state-dir)"
                )
                raise FailedPrecondition(text, reason="STATE_IN_USE")
            time.sleep(_LOOK_INTERVAL_S)
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
        commands.hold(self._descriptor)

    def _try(self) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Let go."""
        commands.let_go(self._descriptor)
        os.close(self._descriptor)
