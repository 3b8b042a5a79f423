"""An object of a storage held open, as a fabric or an initiator holds it, for the suites."""

# ruff: noqa: D102 - a protocol's verbs say what they do by their names

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from clonepool.errors import Cancelled


class ObjectIo(Protocol):
    """An object held open, as a fabric or an initiator holds it."""

    def read_at(self, offset: int, length: int) -> bytes: ...

    def write_at(self, offset: int, data: bytes) -> None: ...

    def close(self) -> None: ...


class FileIo:
    """An object held open by its path."""

    def __init__(self, path: Path, *, read_only: bool) -> None:
        self._descriptor = os.open(path, os.O_RDONLY if read_only else os.O_RDWR)

    def read_at(self, offset: int, length: int) -> bytes:
        """Bytes of a range, fewer at the end."""
        return os.pread(self._descriptor, length, offset)

    def write_at(self, offset: int, data: bytes) -> None:
        """Write through to the file."""
        assert len(data) == os.pwrite(self._descriptor, data, offset)

    def close(self) -> None:
        """Let go of it."""
        os.close(self._descriptor)


class StopAt:
    """A progress callback that cancels once ``after`` calls have passed."""

    def __init__(self, *, after: int = 0) -> None:
        self.calls = 0
        self._after = after

    def __call__(self, _done_bytes: int) -> None:
        """Count, and raise Cancelled when it is time."""
        self.calls += 1
        if self.calls > self._after:
            raise Cancelled("stopped by the test")
