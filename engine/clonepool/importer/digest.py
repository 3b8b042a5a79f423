"""The content digest of a raw image: quick on sparse files, the same for zeros and for holes.

``sha256-4m:<hex>`` is SHA-256 over the concatenated SHA-256 digests of the content's 4 MiB chunks,
the last one as short as it is. See docs/adr/0011-content-digest.md.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from clonepool.sparse import MIB, segments

CHUNK_BYTES: Final = 4 * MIB
_PREFIX: Final = "sha256-4m:"
_ZEROS: Final = bytes(CHUNK_BYTES)
# a terabyte of holes is one long run: between reports nobody could cancel
_REPORT_EVERY_CHUNKS: Final = 64 * 1024


def digest_file(path: Path, *, progress: Callable[[int], None]) -> str:
    """The digest of a file or block device; ``progress`` gets the offset and may raise."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size_bytes = os.lseek(descriptor, 0, os.SEEK_END)
        return combine(_chunk_digests(descriptor, size_bytes=size_bytes, progress=progress))
    finally:
        os.close(descriptor)


def digest_content(
    read: Callable[[int, int], bytes], *, size_bytes: int, progress: Callable[[int], None]
) -> str:
    """The same of content that is no file: ``read(offset, length)`` gives its bytes."""

    def digests() -> Iterator[bytes]:
        for start in range(0, size_bytes, CHUNK_BYTES):
            chunk = read(start, min(CHUNK_BYTES, size_bytes - start))
            yield hashlib.sha256(chunk).digest()
            progress(start + len(chunk))

    return combine(digests())


def combine(chunk_digests: Iterable[bytes]) -> str:
    """The digest of the whole from its chunks' digests, in order."""
    whole = hashlib.sha256()
    for chunk_digest in chunk_digests:
        whole.update(chunk_digest)
    return _PREFIX + whole.hexdigest()


def _chunk_digests(
    descriptor: int, *, size_bytes: int, progress: Callable[[int], None]
) -> Iterator[bytes]:
    buffer = memoryview(bytearray(CHUNK_BYTES))
    zeros_digest = hashlib.sha256(_ZEROS).digest()
    count = -(-size_bytes // CHUNK_BYTES)
    for index, has_data in _chunks_with_data(descriptor, count=count):
        start = index * CHUNK_BYTES
        length = min(CHUNK_BYTES, size_bytes - start)
        if has_data:
            _read_full(descriptor, buffer[:length], position=start)
            yield hashlib.sha256(buffer[:length]).digest()
        elif length == CHUNK_BYTES:
            yield zeros_digest
        else:
            yield hashlib.sha256(_ZEROS[:length]).digest()
        if has_data or index % _REPORT_EVERY_CHUNKS == 0:
            progress(start + length)
    progress(size_bytes)


def _chunks_with_data(descriptor: int, *, count: int) -> Iterator[tuple[int, bool]]:
    """Each chunk's index, and whether any byte of it may be other than a hole's."""
    next_index = 0
    for run in segments(descriptor):
        if not run.is_data:
            continue
        first, last = run.start // CHUNK_BYTES, (run.end - 1) // CHUNK_BYTES
        for index in range(next_index, first):
            yield index, False
        for index in range(max(first, next_index), last + 1):
            yield index, True
        next_index = max(next_index, last + 1)
    for index in range(next_index, count):
        yield index, False


def _read_full(descriptor: int, buffer: memoryview, *, position: int) -> None:
    while buffer:
        count = os.preadv(descriptor, [buffer], position)
        if count == 0:
            raise OSError(f"the file ended at {position} while it was read")
        buffer, position = buffer[count:], position + count
