"""File systems of known kinds and sizes to run drivers on; they need root, and clean up."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clonepool import commands

_TIMEOUT_S: Final = 60.0
# mkfs.xfs refuses less than 300 MB
_XFS_SIZE_BYTES: Final = 768 * 2**20
_EXT4_SIZE_BYTES: Final = 512 * 2**20
# linux: fs/xfs/libxfs/xfs_fs.h
_XFS_IOC_GOINGDOWN: Final = 0x8004587D
_WITHOUT_LOG_FLUSH: Final = 2


def missing_for_xfs() -> str:
    """Why an XFS with reflinks can't be mounted here, or "" when it can be tried."""
    if os.geteuid() != 0:
        return "needs root to mount a loop device"
    if shutil.which("mkfs.xfs") is None:
        return "needs mkfs.xfs (Debian package xfsprogs)"
    if not Path("/dev/loop-control").exists():
        return "needs loop devices"
    return ""


@dataclass(frozen=True, kw_only=True)
class XfsDisk:
    """An XFS with reflinks in a sparse file, mounted through a loop device."""

    image: Path
    mount_point: Path

    def mount(self) -> None:
        """Mount it; what a power cut left in the log is recovered first."""
        # -o loop detaches the device by itself when it is unmounted
        _run("mount", "-t", "xfs", "-o", "loop", str(self.image), str(self.mount_point))

    def unmount(self) -> None:
        """Unmount it, lazily: a descriptor that a failed test left open must not keep it."""
        _run("umount", "--lazy", str(self.mount_point))

    def cut_power(self) -> None:
        """Stop the file system at once: nothing more is written, not even the log in memory."""
        descriptor = os.open(self.mount_point, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _XFS_IOC_GOINGDOWN, struct.pack("=I", _WITHOUT_LOG_FLUSH))
        finally:
            os.close(descriptor)


@contextmanager
def xfs_disk(*, size_bytes: int = _XFS_SIZE_BYTES) -> Iterator[XfsDisk]:
    """A fresh XFS, mounted; gone at the end."""
    with tempfile.TemporaryDirectory(prefix="clonepool-xfs-") as folder:
        disk = XfsDisk(image=Path(folder, "xfs.img"), mount_point=Path(folder, "mnt"))
        disk.mount_point.mkdir()
        with disk.image.open("wb") as file:
            file.truncate(size_bytes)
        _run("mkfs.xfs", "-q", "-m", "reflink=1", str(disk.image))
        disk.mount()
        try:
            yield disk
        finally:
            disk.unmount()


@contextmanager
def mounted_xfs(*, size_bytes: int = _XFS_SIZE_BYTES) -> Iterator[Path]:
    """The mount point of a fresh XFS with reflinks; gone at the end."""
    with xfs_disk(size_bytes=size_bytes) as disk:
        yield disk.mount_point


@contextmanager
def ext4_disk(*, size_bytes: int = _EXT4_SIZE_BYTES) -> Iterator[tuple[Path, Path]]:
    """The medium (a file) and the mount point of a fresh ext4; gone at the end."""
    with tempfile.TemporaryDirectory(prefix="clonepool-ext4-") as folder:
        image, mount_point = Path(folder, "ext4.img"), Path(folder, "mnt")
        mount_point.mkdir()
        with image.open("wb") as file:
            file.truncate(size_bytes)
        _run("mkfs.ext4", "-q", "-F", str(image))
        _run("mount", "-t", "ext4", "-o", "loop", str(image), str(mount_point))
        try:
            yield image, mount_point
        finally:
            _run("umount", "--lazy", str(mount_point))


@contextmanager
def mounted_tmpfs(*, size_bytes: int) -> Iterator[Path]:
    """The mount point of an empty tmpfs of this size; gone at the end."""
    with tempfile.TemporaryDirectory(prefix="clonepool-tmpfs-") as folder:
        _run("mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "none", folder)
        try:
            yield Path(folder)
        finally:
            _run("umount", "--lazy", folder)


def _run(*argv: str) -> None:
    commands.run(argv, timeout_s=_TIMEOUT_S)
