"""A directory of objects that are there whole or not at all, through kill -9 and power loss.

``images/``        image portions, mode 0400
``volumes/thin/``  clones that share blocks with their image
``volumes/full/``  clones that are copies
``tmp/``           what is being made or deleted; emptied at open

How a clone was made is its folder, not an extended attribute: the rename that publishes it
records it too, on every file system, and a restored backup still says it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import Final

from clonepool.backends.storage_errors import gone

_DIRECTORY_MODE: Final = 0o700
_VOLUME_MODE: Final = 0o600


class Place(StrEnum):
    """The folders that hold finished objects."""

    IMAGES = "images"
    THIN = "volumes/thin"
    FULL = "volumes/full"


class StorageDirectory:
    """The layout and its durable moves; raises plain OSError, and Unavailable when it was swapped.

    Paths are built from checked names only. At open nothing else of ours may use the directory
    (the engine's host lock sees to that), since unfinished work in ``tmp/`` is removed.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._tmp = root / "tmp"
        # an attachment looks two objects up: joining strings costs a tenth of joining paths
        self._folders = {place: f"{root / place.value}{os.sep}" for place in Place}

    def open(self) -> None:
        """Make what is missing and remove what a killed process left; may be called again."""
        self.root.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
        for folder in (self.root / "volumes", self._tmp, *map(self.folder, Place)):
            folder.mkdir(mode=_DIRECTORY_MODE, exist_ok=True)
        sync_directory(self.root / "volumes")
        sync_directory(self.root)
        self._identity = self._read_identity()
        for leftover in self._tmp.iterdir():
            destroy_file(leftover)

    def verify(self) -> None:
        """Raise Unavailable when the directory is not the one opened, such as after an umount.

        Else an empty mount point would look like a storage that lost every volume.
        """
        with suppress(OSError):
            if self._read_identity() == self._identity:
                return
        raise gone(doing="storage", directory=self.root)

    def folder(self, place: Place) -> Path:
        """Where finished objects of one kind lie."""
        return self.root / place.value

    def path(self, place: Place, name: str) -> Path:
        """Where the finished object lies, present or not."""
        return Path(self._folders[place] + name)

    def find(self, name: str) -> tuple[Place, os.stat_result] | None:
        """Where the finished object ``name`` is, or None."""
        for place in Place:
            with suppress(FileNotFoundError):
                facts = os.stat(self._folders[place] + name, follow_symlinks=False)
                if stat.S_ISREG(facts.st_mode):
                    return place, facts
        self.verify()
        return None

    def scan(self) -> Iterator[tuple[Place, os.DirEntry[str]]]:
        """Every finished object."""
        self.verify()
        for place in Place:
            with os.scandir(self.folder(place)) as entries:
                for entry in entries:
                    if entry.is_file(follow_symlinks=False):
                        yield place, entry

    @contextmanager
    def unfinished(self, name: str) -> Iterator[tuple[int, Path]]:
        """A new file aside, as descriptor and path; removed unless published before the end."""
        path = self._aside(name)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(path, flags, _VOLUME_MODE)
        try:
            yield descriptor, path
        finally:
            os.close(descriptor)
            with suppress(FileNotFoundError):
                path.unlink()

    def publish(self, path: Path, *, place: Place, name: str) -> None:
        """Give a finished and synced file its name, durably. The caller holds the name's lock."""
        os.rename(path, self.path(place, name))
        sync_directory(self.folder(place))

    def retire(self, *, place: Place, name: str) -> Path:
        """Take an object's name away, durably; returns where its bytes still lie."""
        aside = self._aside(name)
        os.rename(self.path(place, name), aside)
        sync_directory(self.folder(place))
        return aside

    def sync(self, *places: Place) -> None:
        """Make names durable that a killed process may have left only in memory."""
        for place in places:
            sync_directory(self.folder(place))

    def _aside(self, name: str) -> Path:
        # names and deletions of one name must not meet, so the path is used once
        return self._tmp / f"{name}.{os.urandom(6).hex()}"

    def _read_identity(self) -> tuple[int, int]:
        found = os.stat(self.root)
        return found.st_dev, found.st_ino


def destroy_file(path: Path) -> None:
    """Unlink a file after emptying it, so that a descriptor still open reads nothing."""
    if stat.S_ISREG(os.lstat(path).st_mode):
        os.chmod(path, _VOLUME_MODE)  # an image portion is 0400, which stops its own owner too
        os.truncate(path, 0)
    path.unlink()


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
