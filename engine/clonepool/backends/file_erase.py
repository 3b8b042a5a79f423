"""Erasing a file's bytes in place: overwriting with zeros, or discarding its blocks."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from clonepool.backends.base import Progress
from clonepool.sparse import COPY_STEP_BYTES, MIB, punch_hole, segments, write_all

_FS_IOC_FIEMAP: Final = 0xC020660B
_HEADER: Final = struct.Struct("=QQIIII")
_EXTENT: Final = struct.Struct("=QQQ16xI12x")
_EXTENTS_A_CALL: Final = 256
_EXTENT_LAST: Final = 0x1
_EXTENT_SHARED: Final = 0x2000
_NO_FIEMAP: Final = frozenset({errno.EOPNOTSUPP, errno.ENOTTY})
# so that a scrub does not fill the page cache with gigabytes that all writers then wait for
_SYNC_EVERY_BYTES: Final = 64 * MIB
_DISCARD_STEP_BYTES: Final = 1024 * MIB
_ZEROS: Final = memoryview(bytes(COPY_STEP_BYTES))


@dataclass(frozen=True, kw_only=True)
class Extent:
    """Blocks on the medium that belong to a range of a file; ``shared`` with another file."""

    start: int
    end: int
    shared: bool


def overwrite_with_zeros(descriptor: int, *, progress: Progress) -> None:
    """Write zeros over every block of the file; holes stay holes. Durable when it returns.

    Blocks shared with the image are let go of instead: they can't be overwritten in place, they
    hold the image's bytes and none of the user's, and copying them first would need free space.
    """
    os.fsync(descriptor)  # so that every byte has its block before the blocks are listed
    size_bytes = os.fstat(descriptor).st_size
    unsynced_bytes = 0
    for extent in extents(descriptor):
        for start in range(extent.start, extent.end, COPY_STEP_BYTES):
            length = min(COPY_STEP_BYTES, extent.end - start)
            _zero(descriptor, start=start, length=length, shared=extent.shared)
            unsynced_bytes += length
            if unsynced_bytes >= _SYNC_EVERY_BYTES:
                os.fdatasync(descriptor)
                unsynced_bytes = 0
            progress(start + length)
    os.fsync(descriptor)
    progress(size_bytes)


def _zero(descriptor: int, *, start: int, length: int, shared: bool) -> None:
    if shared:
        punch_hole(descriptor, start=start, length=length)
    else:
        write_all(descriptor, _ZEROS[:length], position=start)


def discard(descriptor: int, *, progress: Progress) -> None:
    """Punch out the whole file; it keeps its size and reads as zeros. Durable when it returns."""
    size_bytes = os.fstat(descriptor).st_size
    for start in range(0, size_bytes, _DISCARD_STEP_BYTES):
        end = min(start + _DISCARD_STEP_BYTES, size_bytes)
        punch_hole(descriptor, start=start, length=end - start)
        progress(end)
    os.fsync(descriptor)
    progress(size_bytes)


def extents(descriptor: int) -> Iterator[Extent]:
    """The file's blocks in order, up to its size; unwritten ones too, which SEEK_DATA hides.

    Where the file system has no FIEMAP (tmpfs, NFS), its runs of data.
    """
    try:
        yield from _mapped(descriptor)
    except OSError as error:
        if error.errno not in _NO_FIEMAP:
            raise
        yield from _runs_of_data(descriptor)


def unshared_bytes(descriptor: int) -> int:
    """Bytes of the blocks that only this file has; 0 where the file system can't tell (NFS)."""
    try:
        return sum(found.end - found.start for found in _mapped(descriptor) if not found.shared)
    except OSError as error:
        if error.errno not in _NO_FIEMAP:
            raise
        return 0


def _mapped(descriptor: int) -> Iterator[Extent]:
    size_bytes = os.fstat(descriptor).st_size
    position, last = 0, False
    while position < size_bytes and not last:
        found, last = _fiemap(descriptor, start=position, length=size_bytes - position)
        for extent in found:
            yield Extent(
                start=max(extent.start, position),
                end=min(extent.end, size_bytes),
                shared=extent.shared,
            )
            position = extent.end


def _fiemap(descriptor: int, *, start: int, length: int) -> tuple[list[Extent], bool]:
    """The next extents from ``start``, and whether they are the last."""
    buffer = bytearray(_HEADER.size + _EXTENTS_A_CALL * _EXTENT.size)
    _HEADER.pack_into(buffer, 0, start, length, 0, 0, _EXTENTS_A_CALL, 0)
    fcntl.ioctl(descriptor, _FS_IOC_FIEMAP, buffer)
    count = _HEADER.unpack_from(buffer)[3]
    found, last = [], count == 0
    for index in range(count):
        offset = _HEADER.size + index * _EXTENT.size
        logical, _physical, extent_length, flags = _EXTENT.unpack_from(buffer, offset)
        shared = bool(flags & _EXTENT_SHARED)
        found.append(Extent(start=logical, end=logical + extent_length, shared=shared))
        last = last or bool(flags & _EXTENT_LAST)
    return found, last


def _runs_of_data(descriptor: int) -> Iterator[Extent]:
    for run in list(segments(descriptor)):
        if run.is_data:
            yield Extent(start=run.start, end=run.end, shared=False)
