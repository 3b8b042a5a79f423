"""Read-only bind mounts of single files, by mount(2): no process is spawned for an attachment."""

from __future__ import annotations

import ctypes
import errno
import os
from functools import cache
from pathlib import Path
from typing import Final

_MS_RDONLY: Final = 1
_MS_REMOUNT: Final = 32
_MS_BIND: Final = 4096
_UMOUNT_NOFOLLOW: Final = 8


@cache
def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def bind_read_only(*, source: Path, at: Path) -> None:
    """Show the file or device ``source`` at the file ``at``, read-only. Raises OSError.

    Two steps, as the kernel takes the flag only from a remount; cut off between them it leaves a
    writable mount, which ``is_read_only_mount`` tells from a finished one.
    """
    _mount(source, at, _MS_BIND)
    try:
        _mount(source, at, _MS_BIND | _MS_REMOUNT | _MS_RDONLY)
    except OSError:
        unmount(at)
        raise


def unmount(at: Path) -> bool:
    """Take one mount away; False when nothing is mounted there. Raises OSError (EBUSY: in use)."""
    if _library().umount2(os.fsencode(at), _UMOUNT_NOFOLLOW) == 0:
        return True
    code = ctypes.get_errno()
    if code in {errno.EINVAL, errno.ENOENT}:
        return False
    raise OSError(code, os.strerror(code), str(at))


def is_mount(at: Path) -> bool:
    """Whether something is mounted at the file ``at`` itself."""
    with os.scandir(at.parent) as entries:
        names = {entry.name for entry in entries}
    return at.name in names and _mount_id(at) != _mount_id(at.parent)


def is_read_only_mount(at: Path) -> bool:
    """Whether ``at`` is a mount that is read-only."""
    return is_mount(at) and bool(os.statvfs(at).f_flag & os.ST_RDONLY)


def _mount_id(path: Path) -> str:
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines()
    finally:
        os.close(descriptor)
    return next(line for line in lines if line.startswith("mnt_id:"))


def _mount(source: Path, at: Path, flags: int) -> None:
    done = _library().mount(os.fsencode(source), os.fsencode(at), None, ctypes.c_ulong(flags), None)
    if done != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(at))
