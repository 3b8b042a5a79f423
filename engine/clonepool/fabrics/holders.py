"""Who holds a file open: asked of the kernel, then named out of /proc."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# in the place of an inode's number, which each node of a device has another of
_DEVICE: Final = -1


@dataclass(frozen=True, kw_only=True)
class Holder:
    """A process that has a file open."""

    pid: int
    program: str


def identity(found: os.stat_result) -> tuple[int, int]:
    """What two names, or two device nodes, of one and the same thing have in common."""
    if stat.S_ISBLK(found.st_mode):
        return found.st_rdev, _DEVICE
    return found.st_dev, found.st_ino


def is_held(path: Path) -> bool | None:
    """Whether anybody has the regular file open or mapped, loop devices included.

    A write lease is granted only on a file that nobody else holds, and unlike /proc it sees
    every user's processes. None where leases can't be had (another user's file, a file system
    without them). Of a block device it is told whether it is mounted, or claimed in another way;
    else None, since it may still be open.
    """
    if stat.S_ISBLK(os.stat(path).st_mode):
        return _is_claimed(path)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        # whoever opens the file in this instant breaks the lease: SIGIO would end this process
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except BlockingIOError:
        return True
    except OSError:
        return None
    else:
        return False
    finally:
        os.close(descriptor)


def _is_claimed(path: Path) -> bool | None:
    """Whether a block device is claimed: then the kernel refuses another claim."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_EXCL | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        if error.errno == errno.EBUSY:
            return True
        raise
    return None


def find_holders(
    *, inodes: frozenset[tuple[int, int]], paths: frozenset[str]
) -> tuple[Holder, ...]:
    """The processes with a descriptor of one of the inodes (``identity``), or opened by path.

    Sees the processes of the own user, as root all of this machine's PID namespace.
    """
    holders = (
        Holder(pid=int(process.name), program=_program(process))
        for process in Path("/proc").iterdir()
        if process.name.isdigit()
        and any(found in inodes or name in paths for found, name in _open_files(process))
    )
    return tuple(sorted(holders, key=lambda holder: holder.pid))


def _open_files(process: Path) -> Iterator[tuple[tuple[int, int], str]]:
    try:
        descriptors = os.listdir(process / "fd")
    except OSError:  # gone meanwhile, or another user's
        return
    for descriptor in descriptors:
        link = process / "fd" / descriptor
        with suppress(OSError):
            found = os.stat(link)
            yield identity(found), os.readlink(link)


def _program(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return "?"
