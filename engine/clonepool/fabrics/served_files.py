"""Which file a server really reaches: the one that was opened, not what its path says by now.

A file that is removed lives on for who has it open. One that is put in its place, such as a
restored copy, is another file: whoever opened the first one goes on writing to that, and loses it
all when he closes it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# what the kernel puts behind the name of a file that is open and has no name any more
_DELETED = " (deleted)"


@dataclass(frozen=True, kw_only=True)
class OpenFile:
    """A descriptor of a process: its file, the name it has by now, and where it can be read."""

    inode: tuple[int, int]
    name: str
    link: str


def open_files(pid: int) -> tuple[OpenFile, ...]:
    """What a process has open; nothing where that can't be seen (another user's, or gone)."""
    folder = f"/proc/{pid}/fd"
    found = []
    with suppress(OSError):
        for descriptor in os.listdir(folder):
            link = f"{folder}/{descriptor}"
            with suppress(OSError):
                facts, name = os.stat(link), os.readlink(link)
                inode = (facts.st_dev, facts.st_ino)
                found.append(OpenFile(inode=inode, name=name, link=link))
    return tuple(found)


def inode_of(path: Path | None) -> tuple[int, int] | None:
    """Device and number of the file that lies at a path; None where none does."""
    if path is not None:
        with suppress(OSError):
            facts = os.stat(path)
            return facts.st_dev, facts.st_ino
    return None


def find_astray(
    opened: tuple[OpenFile, ...],
    *,
    served: Mapping[str, str],
    volumes: Mapping[str, Path | None],
) -> dict[str, str]:
    """The targets whose volume's file is none of the opened ones, and where theirs can be read.

    ``served`` has the path that was opened for each target, ``volumes`` what lies there now (None:
    nothing). A file that is open and was moved is not found again: its place is "".
    """
    if not opened:
        return {}
    inodes = {file.inode for file in opened}
    links = {file.name: file.link for file in opened}
    return {
        target: links.get(f"{_resolved(served[target])}{_DELETED}", "")
        for target, path in volumes.items()
        if target in served and inode_of(path) not in inodes
    }


def _resolved(path: str) -> str:
    folder, name = os.path.split(path)
    return os.path.join(os.path.realpath(folder), name)
