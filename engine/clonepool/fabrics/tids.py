"""Target ids that are never used twice, not even after a restart of the engine.

tgtd notes the target id when a login begins and looks the target up by it when the login ends. A
server could begin a login, wait until its target is removed, and end it on whichever target has
the id then, without that one's name or secret ever having been asked for.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from clonepool.errors import ResourceExhausted

_BLOCK: Final = 4096  # ids reserved by one write; a crash skips the rest of them
_MOST: Final = 2**31 - 1  # tgtd's type


class TargetIds:
    """Rising numbers out of a file that holds the first one not yet reserved. Thread-safe."""

    def __init__(self, *, path: Path) -> None:
        self._path = path
        self._guard = threading.Lock()
        self._next = self._reserved = self._read()

    def take(self) -> int:
        """A fresh id."""
        with self._guard:
            if self._next >= self._reserved:
                self._reserve(self._next + _BLOCK)
            taken, self._next = self._next, self._next + 1
        return taken

    def skip_to(self, least: int) -> None:
        """Ids below ``least`` are somebody else's."""
        with self._guard:
            self._next = max(self._next, least)

    def _read(self) -> int:
        with suppress(OSError, ValueError):
            return max(1, int(self._path.read_text()))
        return 1

    def _reserve(self, end: int) -> None:
        if end > _MOST:
            raise ResourceExhausted(
                f"all target ids up to {_MOST} were used; end tgtd while no server is attached, "
                f"remove {self._path} and start again"
            )
        aside = self._path.with_name(self._path.name + ".new")
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.write(descriptor, str(end).encode())
        os.close(descriptor)
        aside.replace(self._path)
        self._reserved = end
