"""What the operating system says of a storage directory, as Clonepool's kinds of error."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from clonepool.errors import (
    STORAGE_FULL,
    ClonepoolError,
    FailedPrecondition,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from clonepool.units import format_size

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_FORBIDDEN: Final = frozenset({errno.EACCES, errno.EPERM})


@contextmanager
def storage_errors(*, doing: str, directory: Path, needed_bytes: int = 0) -> Iterator[None]:
    """Turn an OSError raised inside into an error kind that names ``doing`` and the way out."""
    try:
        yield
    except OSError as error:
        raise to_kind(error, doing=doing, directory=directory, needed_bytes=needed_bytes) from error


def to_kind(
    error: OSError, *, doing: str, directory: Path, needed_bytes: int = 0
) -> ClonepoolError:
    """The kind of one OSError; ``needed_bytes`` 0 leaves the need out of a full disk's message."""
    code = error.errno
    if code in _FULL:
        return no_space(doing=doing, directory=directory, needed_bytes=needed_bytes)
    if code in _FORBIDDEN:
        return PermissionDenied(
            f"{doing}: the engine's user (uid {os.geteuid()}) may not: {error}; "
            f"give it read and write rights on {directory}",
            reason="STORAGE_FORBIDDEN",
        )
    if code == errno.EROFS:
        return Unavailable(
            f"{doing}: the file system of {directory} is read-only, maybe after a disk error; "
            "look at the kernel's log, mend it and remount it read-write",
            reason="STORAGE_READ_ONLY",
        )
    if code == errno.EFBIG:
        return FailedPrecondition(
            f"{doing}: larger than the file system of {directory} allows a file to be; "
            "use a smaller image or another file system",
            reason="STORAGE_FILE_TOO_LARGE",
        )
    if code == errno.ENOENT and not directory.is_dir():
        return gone(doing=doing, directory=directory)
    if code == errno.ENOENT:
        return NotFound(f"{doing}: {error}", reason="STORAGE_FILE_MISSING")
    return Unavailable(
        f"{doing}: {directory} answers: {error}; mend the storage, then try again",
        reason="STORAGE_FAILED",
        retry_after_s=5.0,
    )


def gone(*, doing: str, directory: Path) -> Unavailable:
    """The storage directory is not what it was when the engine started."""
    return Unavailable(
        f"{doing}: the storage directory {directory} is not there, or is no longer the one the "
        "engine started with; mount it again and the engine goes on by itself; where it comes back "
        "as another device, restart the engine",
        reason="STORAGE_AWAY",
    )


def no_space(*, doing: str, directory: Path, needed_bytes: int = 0) -> ResourceExhausted:
    """A full storage, with the figures."""
    free_bytes = 0
    with suppress(OSError):
        figures = os.statvfs(directory)
        free_bytes = figures.f_bavail * figures.f_frsize
    needs = f"needs {format_size(needed_bytes)}, " if needed_bytes else ""
    return ResourceExhausted(
        f"{doing}: {needs}{format_size(free_bytes)} is free in {directory}; "
        "scrub released volumes (clonepool scrub run), delete images or add space",
        reason=STORAGE_FULL,
        metadata={"needed_bytes": str(needed_bytes), "free_bytes": str(free_bytes)},
    )
