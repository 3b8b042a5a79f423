"""What is inside RBD images: written at the import, copied, erased, read."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from clonepool.backends.base import Progress
from clonepool.domain.states import ScrubMethod
from clonepool.errors import InvalidArgument, NotFound
from clonepool.sparse import COPY_STEP_BYTES, segments

# one step of an erasure: some objects at a time, with room to cancel in between
_ERASE_STEP_BYTES: Final = 64 * 2**20
# blocks of zeros are left out of a copy
_BLOCK_BYTES: Final = 64 * 1024
_ZERO_BLOCK: Final = bytes(_BLOCK_BYTES)


def source_size(source: Path) -> int:
    """The size of a file to import. Raises NotFound, InvalidArgument."""
    try:
        facts = os.lstat(source)
    except FileNotFoundError:
        raise NotFound(f"the file to import, {source}, is not there") from None
    if not stat.S_ISREG(facts.st_mode) or facts.st_size == 0:
        raise InvalidArgument(f"the file to import, {source}, is not a regular file with content")
    return facts.st_size


def write_file(image: Any, source: Path, *, progress: Progress) -> int:
    """Write a sparse file's data into a blank image; gives the bytes written."""
    written = 0
    descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        size_bytes = os.fstat(descriptor).st_size
        for run in segments(descriptor):
            if not run.is_data:
                progress(run.end)
                continue
            for start, length in _steps(run.start, run.end, step=COPY_STEP_BYTES):
                written += _write_data(image, start, os.pread(descriptor, length, start))
                progress(start + length)
    finally:
        os.close(descriptor)
    image.flush()
    progress(size_bytes)
    return written


def copy_content(source: Any, target: Any, *, progress: Progress) -> int:
    """Copy one image's data into a blank one of its size; gives the bytes written."""
    written, size_bytes = 0, source.size()
    progress(0)
    for start, length in _data(source, size_bytes):
        for at, count in _steps(start, start + length, step=COPY_STEP_BYTES):
            written += _write_data(target, at, source.read(at, count))
            progress(at + count)
    target.flush()
    progress(size_bytes)
    return written


def erase_content(image: Any, *, method: ScrubMethod, progress: Progress) -> None:
    """Make every byte read as zero."""
    size_bytes = image.size()
    step = image.discard if method is ScrubMethod.DISCARD else image.write_zeroes
    for start, length in _steps(0, size_bytes, step=_ERASE_STEP_BYTES):
        progress(start)
        step(start, length)
    image.flush()
    progress(size_bytes)


def _data(image: Any, size_bytes: int) -> list[tuple[int, int]]:
    """Where there is data; by whole objects, which the object map tells without looking at each."""
    found: list[tuple[int, int]] = []

    def note(offset: int, length: int, exists: bool) -> None:
        if exists:
            found.append((offset, length))

    image.diff_iterate(0, size_bytes, None, note, include_parent=True, whole_object=True)
    return found


def _write_data(image: Any, start: int, data: bytes) -> int:
    """Write what is not zeros; gives its bytes."""
    if not data.strip(b"\0"):
        return 0
    written = 0
    for offset, run in _runs(data):
        image.write(run, start + offset)
        written += len(run)
    return written


def _runs(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Runs of blocks that are not all zeros."""
    begin = None
    for at in range(0, len(data), _BLOCK_BYTES):
        is_zero = data[at : at + _BLOCK_BYTES] == _ZERO_BLOCK[: len(data) - at]
        if is_zero and begin is not None:
            yield begin, data[begin:at]
            begin = None
        elif not is_zero and begin is None:
            begin = at
    if begin is not None:
        yield begin, data[begin:]


def _steps(start: int, end: int, *, step: int) -> Iterator[tuple[int, int]]:
    """Offsets and lengths, aligned to the step: an object of the cluster is written once."""
    while start < end:
        length = min(step - start % step, end - start)
        yield start, length
        start += length
