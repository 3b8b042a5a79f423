"""The kernel's configuration as a tree of folders (configfs), changed so that no error is lost.

A file object buffers what is written and loses what the kernel answers to it, so every change is
one system call here. All errors are OSErrors that name the path, never what was written to it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

# the kernel answers with one page at most
_PAGE_BYTES: Final = 65536


class ConfigTree:
    """A folder of configfs; paths are relative to it. Holds nothing: the kernel does. Thread-safe.

    Making what is there, and removing what is gone, succeeds.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def exists(self, path: str) -> bool:
        """Whether there is such a folder or file."""
        return os.path.lexists(self._at(path))

    def stat(self, path: str) -> os.stat_result:
        """As os.stat. Raises FileNotFoundError."""
        return os.stat(self._at(path))

    def read(self, path: str) -> str:
        """What an attribute says, without the line's end."""
        with self._opened(path, os.O_RDONLY) as descriptor:
            return os.read(descriptor, _PAGE_BYTES).decode(errors="replace").rstrip("\n")

    def write(self, path: str, text: str) -> None:
        """Set an attribute. Raises OSError with what the kernel says to it."""
        with self._opened(path, os.O_WRONLY) as descriptor:
            try:
                os.write(descriptor, text.encode())
            except OSError as error:
                raise _named(error, self._at(path)) from None

    def folders(self, path: str, *, prefix: str = "") -> tuple[str, ...]:
        """The names of the folders in one, sorted; none where it is not there."""
        with suppress(FileNotFoundError), os.scandir(self._at(path)) as entries:
            found = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
            return tuple(sorted(name for name in found if name.startswith(prefix)))
        return ()

    def links(self, path: str) -> Mapping[str, str]:
        """The links in a folder: the last part of what each leads to, by its name."""
        with suppress(FileNotFoundError), os.scandir(self._at(path)) as entries:
            names = [entry.name for entry in entries if entry.is_symlink()]
            return {name: os.path.basename(os.readlink(self._at(path, name))) for name in names}
        return {}

    def make(self, path: str) -> None:
        """Make a folder, which makes the thing that it stands for."""
        with suppress(FileExistsError):
            os.mkdir(self._at(path))

    def link(self, path: str, *, to: str) -> None:
        """Connect two things: a link at ``path`` to the folder ``to`` of this tree."""
        with suppress(FileExistsError):
            os.symlink(self._at(to), self._at(path))

    def unlink(self, path: str) -> None:
        """Take a link away."""
        with suppress(FileNotFoundError):
            os.unlink(self._at(path))

    def remove(self, path: str) -> None:
        """Remove a folder, and so the thing. Raises OSError while something is linked to it."""
        with suppress(FileNotFoundError):
            os.rmdir(self._at(path))

    def _at(self, *parts: str) -> str:
        return os.path.join(self.root, *parts)

    @contextmanager
    def _opened(self, path: str, flags: int) -> Iterator[int]:
        descriptor = os.open(self._at(path), flags | os.O_CLOEXEC)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def _named(error: OSError, path: str) -> OSError:
    """The error with the path that os.write does not know; its class follows from the number."""
    return OSError(error.errno, os.strerror(error.errno or 0), path)
