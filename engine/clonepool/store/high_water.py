"""How far a database came, noted outside of it: one that was put back from a backup is behind it.

Each commit counts one up, in the same transaction. Once it is durable the count is noted in a small
file in the state's folder, before anybody is answered, and a moment later in the storages' folders,
which a backup of the state does not put back. The notes are not flushed to the disk: a power loss
can only make them older than the database, and so never raises a false alarm.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from clonepool.store.connections import WritingConnection

log = logging.getLogger(__name__)
FILE_NAME: Final = ".clonepool-high-water"
COMMITS: Final = "commits/"
"""Followed by a node's name: the key of its count among the facts about the database."""
_COUNT: Final = """
    INSERT INTO meta(key, value) VALUES (?, '1') ON CONFLICT (key)
    DO UPDATE SET value = CAST(CAST(meta.value AS INTEGER) + 1 AS TEXT) RETURNING value
"""
# a longer note than any: a shorter one that is written over it leaves nothing of it
_WIDTH: Final = 512


@dataclass(frozen=True, kw_only=True)
class Note:
    """What was noted: whose database, since which putting back, by which node, and the count."""

    engine_id: str
    restore_id: str
    node: str
    commits: int

    def is_ahead_of(
        self, *, engine_id: str, restores: Sequence[str], commits: Mapping[str, int]
    ) -> bool:
        """Whether a database that is as given was further once.

        A note of before the last time that the database was put back says nothing: what was then
        in doubt was dealt with.
        """
        if self.engine_id != engine_id:
            return False
        if self.restore_id not in restores:
            return True
        return self.restore_id == restores[-1] and self.commits > commits.get(self.node, 0)


class HighWater:
    """The notes of one node: its own folder's at each commit, the storages' now and then.

    ``count`` and ``note`` are the writer's; ``spread`` may be called beside them.
    """

    def __init__(self, folder: Path, *, storages: Sequence[Path] = (), node: str) -> None:
        self._node = node
        self._folder = folder
        self._storages = [each for each in dict.fromkeys(storages) if each != folder]
        self._descriptor = -1
        self._engine_id = self._restore_id = ""
        self._last = self._spread = b""

    def read(self) -> list[Note]:
        """What was noted so far, by this node or an earlier one on this host."""
        notes = []
        for folder in (self._folder, *self._storages):
            # a storage that is away says nothing
            with suppress(OSError):
                notes += _parsed((folder / FILE_NAME).read_bytes(), folder)
        return notes

    def begin(self, *, engine_id: str, restore_id: str) -> None:
        """From now on ``note`` is of this database."""
        self._engine_id, self._restore_id = engine_id, restore_id

    def count(self, connection: WritingConnection) -> int:
        """Count the commit that is about to be made."""
        return int(connection.execute(_COUNT, (COMMITS + self._node,)).fetchone()[0])

    def note(self, commits: int) -> None:
        """Note that this commit is durable. A folder that can't be written to goes without."""
        if not self._engine_id:
            return
        note = Note(
            engine_id=self._engine_id,
            restore_id=self._restore_id,
            node=self._node,
            commits=commits,
        )
        self._last = json.dumps(asdict(note)).ljust(_WIDTH - 1).encode() + b"\n"
        with suppress(OSError):
            if self._descriptor < 0:
                self._descriptor = _open(self._folder)
            os.pwrite(self._descriptor, self._last, 0)

    def spread(self) -> None:
        """Note in the storages what was noted last; one that is away or full goes without."""
        last = self._last
        if last == self._spread:
            return
        self._spread = last
        for folder in self._storages:
            with suppress(OSError):
                descriptor = _open(folder)
                try:
                    os.pwrite(descriptor, last, 0)
                finally:
                    os.close(descriptor)

    def close(self) -> None:
        """Let go of the file."""
        self.spread()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _open(folder: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.open(folder / FILE_NAME, flags, 0o600)


def _parsed(text: bytes, folder: Path) -> list[Note]:
    try:
        found: dict[str, Any] = json.loads(text)
        return [Note(**found)]
    except (TypeError, ValueError):
        log.warning("%s can't be read, and is made anew", folder / FILE_NAME)
        return []
