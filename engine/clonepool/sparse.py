"""Sparse and reflinked files: their data and holes, copied and cloned without filling the holes."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

MIB: Final = 2**20
# one step of a copy: small enough to answer a cancel at once, large enough to stream
COPY_STEP_BYTES: Final = 4 * MIB
# linux/fs.h: _IOW(0x94, 9, int)
_FICLONE: Final = 0x40049409
_FALLOC_FL_KEEP_SIZE: Final = 0x01
_FALLOC_FL_PUNCH_HOLE: Final = 0x02

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
_libc.fallocate.restype = ctypes.c_int


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A run of bytes in a file: data, or a hole that reads as zeros."""

    start: int
    end: int
    is_data: bool

    @property
    def length(self) -> int:
        """Bytes in the run."""
        return self.end - self.start


def segments(descriptor: int) -> Iterator[Segment]:
    """The whole file as alternating data and holes, in order.

    A file system without SEEK_DATA reports one run of data, which is right, only slower.
    Moves the descriptor's offset.
    """
    size_bytes = os.fstat(descriptor).st_size
    position = 0
    while position < size_bytes:
        data_start = _seek_data(descriptor, position, size_bytes)
        if data_start > position:
            yield Segment(start=position, end=data_start, is_data=False)
        if data_start >= size_bytes:
            return
        data_end = min(os.lseek(descriptor, data_start, os.SEEK_HOLE), size_bytes)
        yield Segment(start=data_start, end=data_end, is_data=True)
        position = data_end


def _seek_data(descriptor: int, position: int, size_bytes: int) -> int:
    try:
        return min(os.lseek(descriptor, position, os.SEEK_DATA), size_bytes)
    except OSError as error:
        if error.errno == errno.ENXIO:  # no data up to the end
            return size_bytes
        raise


def reflink(*, source: int, target: int) -> None:
    """Make ``target`` share all blocks of ``source`` (FICLONE); OSError where that can't be."""
    fcntl.ioctl(target, _FICLONE, source)


def punch_hole(descriptor: int, *, start: int, length: int) -> None:
    """Free the blocks of a range; it reads as zeros after. OSError where that can't be."""
    mode = _FALLOC_FL_PUNCH_HOLE | _FALLOC_FL_KEEP_SIZE
    while _libc.fallocate(descriptor, mode, start, length) != 0:
        code = ctypes.get_errno()
        if code != errno.EINTR:
            raise OSError(code, os.strerror(code))


def copy_sparse(*, source: int, target: int, progress: Callable[[int], None]) -> None:
    """Copy the data of ``source`` into the empty file ``target``, keeping its holes.

    Reads and writes instead of copy_file_range, which silently shares blocks on a file system
    with reflinks: what is called a full copy must be one. ``progress`` gets the offset reached
    every few MiB and may raise to stop.
    """
    size_bytes = os.fstat(source).st_size
    os.ftruncate(target, size_bytes)
    buffer = memoryview(bytearray(min(COPY_STEP_BYTES, size_bytes)))
    for segment in segments(source):
        position = segment.start
        while segment.is_data and position < segment.end:
            count = os.preadv(source, [buffer[: segment.end - position]], position)
            if count == 0:
                raise OSError(errno.EIO, "the file became shorter while it was copied")
            write_all(target, buffer[:count], position=position)
            position += count
            progress(position)
        progress(segment.end)


def write_all(descriptor: int, data: memoryview | bytes, *, position: int) -> None:
    """Write every byte at ``position``; a short write goes on, a full disk raises OSError."""
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, position)
        view, position = view[written:], position + written


def data_bytes(descriptor: int) -> int:
    """Bytes that a copy which keeps holes has to write."""
    return sum(segment.length for segment in segments(descriptor) if segment.is_data)
