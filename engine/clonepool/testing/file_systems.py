"""File systems of known kinds and sizes to run drivers on; they need root, and clean up."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from clonepool import commands

_TIMEOUT_S: Final = 60.0
# mkfs.xfs refuses less than 300 MB
_XFS_SIZE_BYTES: Final = 768 * 2**20


def missing_for_xfs() -> str:
    """Why an XFS with reflinks can't be mounted here, or "" when it can be tried."""
    if os.geteuid() != 0:
        return "needs root to mount a loop device"
    if shutil.which("mkfs.xfs") is None:
        return "needs mkfs.xfs (Debian package xfsprogs)"
    if not Path("/dev/loop-control").exists():
        return "needs loop devices"
    return ""


@contextmanager
def mounted_xfs(*, size_bytes: int = _XFS_SIZE_BYTES) -> Iterator[Path]:
    """The mount point of a fresh XFS with reflinks, in a sparse file; gone at the end."""
    with tempfile.TemporaryDirectory(prefix="clonepool-xfs-") as folder:
        image, mount_point = Path(folder, "xfs.img"), Path(folder, "mnt")
        mount_point.mkdir()
        with image.open("wb") as file:
            file.truncate(size_bytes)
        _run("mkfs.xfs", "-q", "-m", "reflink=1", str(image))
        # -o loop detaches the device by itself when it is unmounted
        _run("mount", "-t", "xfs", "-o", "loop", str(image), str(mount_point))
        with _unmounted_at_end(mount_point):
            yield mount_point


@contextmanager
def mounted_tmpfs(*, size_bytes: int) -> Iterator[Path]:
    """The mount point of an empty tmpfs of this size; gone at the end."""
    with tempfile.TemporaryDirectory(prefix="clonepool-tmpfs-") as folder:
        _run("mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "none", folder)
        with _unmounted_at_end(Path(folder)):
            yield Path(folder)


@contextmanager
def _unmounted_at_end(mount_point: Path) -> Iterator[None]:
    try:
        yield
    finally:
        # lazily, so that a descriptor a failed test left open does not keep the mount for ever
        _run("umount", "--lazy", str(mount_point))


def _run(*argv: str) -> None:
    commands.run(argv, timeout_s=_TIMEOUT_S)
