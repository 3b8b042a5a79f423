"""Bytes of a thin volume's device: filled, copied, erased and read back past the page cache."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from clonepool.backends.base import Progress
from clonepool.sparse import COPY_STEP_BYTES, MIB, segments, write_all

# linux/fs.h: _IO(0x12, 119), _IOR(0x12, 114, size_t)
_BLKDISCARD: Final = 0x1277
_BLKGETSIZE64: Final = 0x80081272
# what O_DIRECT wants offsets, lengths and memory to be multiples of, on any disk
_ALIGNED_BYTES: Final = 4096
_SYNC_EVERY_BYTES: Final = 64 * MIB
_DISCARD_STEP_BYTES: Final = 1024 * MIB
_ZEROS: Final = bytes(COPY_STEP_BYTES)


@contextmanager
def opened_device(path: Path, *, writable: bool) -> Iterator[int]:
    """A device's descriptor, direct; to write, nobody else may have claimed it (EBUSY)."""
    # O_EXCL on a device: refused while it is mounted or another device lies on it
    flags = os.O_RDWR | os.O_EXCL if writable else os.O_RDONLY
    descriptor = os.open(path, flags | os.O_DIRECT | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def device_size(descriptor: int) -> int:
    """Bytes of a device."""
    answer = fcntl.ioctl(descriptor, _BLKGETSIZE64, bytes(8))
    return int(struct.unpack("=Q", answer)[0])


def fill_from_file(*, source: int, target: int, chunk_bytes: int, progress: Progress) -> None:
    """Write a file's data into an empty device; where it has holes or zeros, nothing. Durable.

    ``progress`` is told the offset reached, and at the end the file's size.
    """
    size_bytes = os.fstat(source).st_size
    writer = _Writer(target, chunk_bytes=chunk_bytes)
    for segment in segments(source):
        # whole chunks, so that what is written is aligned; what of them is hole reads as zeros
        start = segment.start // chunk_bytes * chunk_bytes
        while segment.is_data and start < segment.end:
            end = min(start + writer.step_bytes, size_bytes)
            writer.write(_read_file(source, start, end - start), at=start)
            start = end
            progress(min(start, segment.end))
        progress(segment.end)
    os.fsync(target)


def copy_device(
    *, source: int, target: int, end_bytes: int, chunk_bytes: int, progress: Progress
) -> None:
    """Write what ``source`` holds besides zeros before ``end_bytes`` into an empty device. Durable.

    ``progress`` is told the offset reached.
    """
    writer = _Writer(target, chunk_bytes=chunk_bytes)
    with mmap.mmap(-1, writer.step_bytes) as buffer:
        for start in range(0, end_bytes, writer.step_bytes):
            length = min(writer.step_bytes, end_bytes - start)
            writer.write(_read(source, buffer, start=start, length=length), at=start)
            progress(start + length)
    os.fsync(target)


def overwrite_with_zeros(
    descriptor: int, *, end_bytes: int, chunk_bytes: int, progress: Progress
) -> None:
    """Write zeros over what reads as something else, then give its chunks back. Durable.

    Nothing is mapped from ``end_bytes`` on. The zeros are on the medium before the chunks go. What
    reads as zeros is left alone: it is not there, or is zeros on the medium too, and writing it
    would fill the pool.
    """
    step_bytes = _step(chunk_bytes)
    with mmap.mmap(-1, step_bytes) as buffer, mmap.mmap(-1, step_bytes) as zeros:
        for start in range(0, end_bytes, step_bytes):
            length = min(step_bytes, end_bytes - start)
            data = _read(descriptor, buffer, start=start, length=length)
            if not _is_zeros(data):
                write_all(descriptor, memoryview(zeros)[:length], position=start)
                os.fdatasync(descriptor)
                _give_back(descriptor, start=start, length=length)
            progress(start + length)
    os.fsync(descriptor)


def discard(descriptor: int, *, chunk_bytes: int, progress: Progress) -> None:
    """Give all chunks back; everything reads as zeros then. Durable.

    A pool leaves a chunk alone that is discarded in part, so a last, cut one is zeroed first.
    """
    size_bytes = device_size(descriptor)
    rest = size_bytes % chunk_bytes
    if rest:
        with mmap.mmap(-1, rest) as zeros:
            write_all(descriptor, memoryview(zeros), position=size_bytes - rest)
        os.fdatasync(descriptor)
    for start in range(0, size_bytes, _DISCARD_STEP_BYTES):
        length = min(_DISCARD_STEP_BYTES, size_bytes - start)
        _discard(descriptor, start=start, length=length)
        progress(start + length)
    os.fsync(descriptor)


def read_device(descriptor: int, *, offset: int, length: int) -> bytes:
    """Bytes of a range, fewer at the device's end."""
    start = offset // _ALIGNED_BYTES * _ALIGNED_BYTES
    end = min(-(-(offset + length) // _ALIGNED_BYTES) * _ALIGNED_BYTES, device_size(descriptor))
    if start >= end:
        return b""
    with mmap.mmap(-1, end - start) as buffer:
        data = _read(descriptor, buffer, start=start, length=end - start)
    return data[offset - start : offset - start + length]


class _Writer:
    """Writes what is not zeros, in whole chunks, and syncs now and then."""

    def __init__(self, descriptor: int, *, chunk_bytes: int) -> None:
        self.step_bytes = _step(chunk_bytes)
        self._descriptor = descriptor
        # a chunk may have a gigabyte; written in part, the pool zeroes the rest of it
        self._chunk_bytes = min(chunk_bytes, COPY_STEP_BYTES)
        self._unsynced_bytes = 0

    def write(self, data: bytes, *, at: int) -> None:
        """Write ``data``, a multiple of a chunk except at the very end."""
        if _is_zeros(data):
            return
        for start in range(0, len(data), self._chunk_bytes):
            chunk = data[start : start + self._chunk_bytes]
            if not _is_zeros(chunk):
                self._write_chunk(chunk, at=at + start)
        if self._unsynced_bytes >= _SYNC_EVERY_BYTES:
            os.fdatasync(self._descriptor)
            self._unsynced_bytes = 0

    def _write_chunk(self, chunk: bytes, *, at: int) -> None:
        length = -(-len(chunk) // _ALIGNED_BYTES) * _ALIGNED_BYTES
        with mmap.mmap(-1, length) as buffer:
            buffer[: len(chunk)] = chunk
            write_all(self._descriptor, memoryview(buffer), position=at)
        self._unsynced_bytes += length


def _step(chunk_bytes: int) -> int:
    """The most that is moved at once: whole chunks, as far as they are not larger."""
    return max(1, COPY_STEP_BYTES // chunk_bytes) * min(chunk_bytes, COPY_STEP_BYTES)


def _is_zeros(data: bytes) -> bool:
    return data == _ZEROS[: len(data)]


def _read_file(source: int, offset: int, length: int) -> bytes:
    data = os.pread(source, length, offset)
    while len(data) < length:
        more = os.pread(source, length - len(data), offset + len(data))
        if not more:
            raise OSError(errno.EIO, "the file became shorter while it was copied")
        data += more
    return data


def _read(descriptor: int, buffer: mmap.mmap, *, start: int, length: int) -> bytes:
    done = 0
    with memoryview(buffer) as view:
        while done < length:
            with view[done:length] as rest:
                count = os.preadv(descriptor, [rest], start + done)
            if count == 0:
                raise OSError(errno.EIO, "the device became shorter while it was read")
            done += count
    return buffer[:length]


def _give_back(descriptor: int, *, start: int, length: int) -> None:
    """Discard what is zeros already; a pool that ignores discards keeps it."""
    with suppress(OSError):
        _discard(descriptor, start=start, length=length)


def _discard(descriptor: int, *, start: int, length: int) -> None:
    fcntl.ioctl(descriptor, _BLKDISCARD, struct.pack("=QQ", start, length))
