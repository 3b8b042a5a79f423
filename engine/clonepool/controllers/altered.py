"""Objects that somebody wrote to in place, though nobody may: they are read, and judged by that.

Nobody writes to an image, nor to a replica before a server has it. A backend says what was written
to since it was made; only that is read. A file that was merely restored, or dated anew, is right.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Final, TypeVar

from clonepool.backends.base import ObjectInfo, StorageBackend
from clonepool.controllers.context import Context
from clonepool.controllers.lost_objects import LostObjects
from clonepool.controllers.read_back import Object, read_back
from clonepool.domain import names
from clonepool.domain.drift import PortionRow, Unwritten, VolumeRow, altered, made_of_altered
from clonepool.domain.states import PortionRole, VerifyMode
from clonepool.errors import Cancelled, DataLoss
from clonepool.importer.digest import digest_content

# what is left is read at the next look: the storage's health is asked by the same thread
_MOST_READING_S: Final = 30.0
Row = TypeVar("Row", PortionRow, VolumeRow)


class Altered:
    """Reads what was written to, and takes it out of service where its bytes are wrong."""

    def __init__(
        self, context: Context, lost: LostObjects, *, is_stopping: Callable[[], bool]
    ) -> None:
        self._context = context
        self._lost = lost
        self._is_stopping = is_stopping
        # what was found wrong, and when it was last written to: it is not read again
        self._wrong: set[tuple[str, float | None]] = set()
        # versions that were wrong, since when: what was cloned from then on is read once
        self._doubtful: dict[str, float] = {}
        self._read: set[str] = set()

    def look(
        self,
        *,
        storage: str,
        backend: StorageBackend,
        found: Mapping[str, ObjectInfo],
        rows: Unwritten,
    ) -> None:
        """Judge what was written to: images first, since replicas are held against them."""
        try:
            wrong = self._versions(storage, backend, found, rows.portions)
            self._replicas(storage, backend, found, rows.replicas, wrong=wrong)
        except Cancelled:
            # the engine ends: the next one looks again
            return

    def _versions(
        self,
        storage: str,
        backend: StorageBackend,
        found: Mapping[str, ObjectInfo],
        portions: frozenset[PortionRow],
    ) -> Mapping[str, float]:
        """The versions with wrong bytes, and since when; those that are right again go on."""
        written = {row: at for row in portions if (at := found[row.name].written_at) is not None}
        wrong: dict[str, float] = {}
        unread = set(written)
        for row in _in_time(written):
            unread.discard(row)
            if not self._is_right(
                backend, found[row.name], partial(self._has_digest, backend, row)
            ):
                wrong[row.version_id] = min(written[row], wrong.get(row.version_id, math.inf))
                self._lost.tell_of_version(row, text=altered(row, storage=storage))
        for version_id, since in wrong.items():
            self._doubtful[version_id] = min(since, self._doubtful.get(version_id, math.inf))
        for row in portions - unread:
            if row.error == altered(row, storage=storage) and row.version_id not in wrong:
                # found by an engine before this one: since when is not known
                self._doubtful.setdefault(row.version_id, 0.0)
                self._lost.version_is_back(row)
        return wrong

    def _replicas(
        self,
        storage: str,
        backend: StorageBackend,
        found: Mapping[str, ObjectInfo],
        replicas: Collection[VolumeRow],
        *,
        wrong: Mapping[str, float],
    ) -> None:
        for row in replicas:
            if row.changed_at >= wrong.get(row.version_id, math.inf):
                self._take_out(row, made_of_altered(row))
        # what is wrong itself is nothing to hold a replica against
        written = (row for row in replicas if self._is_to_be_read(row, found[row.name]))
        for row in _in_time([row for row in written if row.version_id not in wrong]):
            image = names.portion_object(version_id=row.version_id, role=PortionRole.WRITABLE)
            like = Object(name=row.name, size_bytes=row.size_bytes, like=image)
            if not self._is_right(backend, found[row.name], partial(self._is_like, backend, like)):
                self._take_out(row, altered(row, storage=storage))
            self._read.add(row.name)

    def _is_to_be_read(self, row: VolumeRow, info: ObjectInfo) -> bool:
        doubtful_since = self._doubtful.get(row.version_id, math.inf)
        in_doubt = row.changed_at >= doubtful_since and row.name not in self._read
        return in_doubt or info.written_at is not None

    def _take_out(self, row: VolumeRow, text: str) -> None:
        self._lost.tell_of_volume(row, reason="OBJECT_CHANGED", text=text)

    def _is_right(
        self, backend: StorageBackend, info: ObjectInfo, read: Callable[[], bool]
    ) -> bool:
        seen = (info.name, info.written_at)
        if seen in self._wrong:
            return False
        if not read():
            self._wrong.add(seen)
            return False
        if backend.stat(name=info.name).written_at == info.written_at:
            backend.seal(name=info.name)
        return True

    def _has_digest(self, backend: StorageBackend, row: PortionRow) -> bool:
        digest = digest_content(
            lambda offset, length: backend.read(name=row.name, offset=offset, length=length),
            size_bytes=row.size_bytes,
            progress=self._progress,
        )
        return digest == row.digest

    def _is_like(self, backend: StorageBackend, replica: Object) -> bool:
        try:
            read_back(backend, replica, mode=VerifyMode.FULL, progress=self._progress)
        except DataLoss:
            return False
        return True

    def _progress(self, _done_bytes: int) -> None:
        if self._is_stopping():
            raise Cancelled("the engine ends")


def _in_time(rows: Collection[Row]) -> Iterator[Row]:
    """At least one of them, and more as long as there is time."""
    began = time.monotonic()
    for row in sorted(rows, key=lambda row: row.name):
        yield row
        if time.monotonic() - began > _MOST_READING_S:
            return
