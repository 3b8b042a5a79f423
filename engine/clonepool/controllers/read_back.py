"""Reading back what a scrub has erased: all of it, or a sample at random places."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from clonepool.backends.base import Progress, StorageBackend
from clonepool.domain.read_back import ReadBack
from clonepool.domain.states import VerifyMode
from clonepool.errors import DataLoss
from clonepool.sparse import COPY_STEP_BYTES

# of a sample: the first block, the last, and so many at places that nobody can foresee
_SAMPLE_BLOCKS: Final = 64
_SAMPLE_BLOCK_BYTES: Final = 64 * 1024
_RANDOM: Final = random.SystemRandom()


@dataclass(frozen=True, kw_only=True)
class Object:
    """An object to read, and the image that it should be like; "": it should be zeros."""

    name: str
    size_bytes: int
    like: str = ""


def read_back(
    backend: StorageBackend,
    found: Object,
    *,
    mode: VerifyMode,
    progress: Progress,
    choose: Callable[[int], int] = _RANDOM.randrange,
) -> ReadBack:
    """Hold an object against what it should be. Raises DataLoss naming the first byte that differs.

    ``progress`` is told the bytes read so far.
    """
    digest = hashlib.sha256()
    read_bytes = 0
    for offset, length in _ranges(found.size_bytes, mode=mode, choose=choose):
        data = backend.read(name=found.name, offset=offset, length=length)
        like = (
            backend.read(name=found.like, offset=offset, length=length).ljust(length, b"\0")
            if found.like
            else bytes(length)
        )
        if data != like:
            raise _differs(found, data, like, offset=offset)
        digest.update(data)
        read_bytes += length
        progress(read_bytes)
    return ReadBack(
        mode=mode,
        result="passed",
        expected="image" if found.like else "zeros",
        bytes_read=read_bytes,
        digest=digest.hexdigest(),
    )


def _ranges(
    size_bytes: int, *, mode: VerifyMode, choose: Callable[[int], int]
) -> Iterator[tuple[int, int]]:
    """Offsets and lengths to read, rising; a sample that would be nearly all is all."""
    if mode is VerifyMode.FULL or size_bytes <= (_SAMPLE_BLOCKS + 2) * _SAMPLE_BLOCK_BYTES:
        for offset in range(0, size_bytes, COPY_STEP_BYTES):
            yield offset, min(COPY_STEP_BYTES, size_bytes - offset)
        return
    blocks = -(-size_bytes // _SAMPLE_BLOCK_BYTES)
    for block in sorted({0, blocks - 1, *(choose(blocks) for _ in range(_SAMPLE_BLOCKS))}):
        offset = block * _SAMPLE_BLOCK_BYTES
        yield offset, min(_SAMPLE_BLOCK_BYTES, size_bytes - offset)


def _differs(found: Object, data: bytes, like: bytes, *, offset: int) -> DataLoss:
    within = next(
        (index for index, pair in enumerate(zip(data, like, strict=False)) if pair[0] != pair[1]),
        min(len(data), len(like)),
    )
    wanted = f"the bytes of image {found.like}" if found.like else "zeros"
    text = f"{found.name} was erased and does not read as {wanted}: byte {offset + within} differs"
    return DataLoss(text, reason="SCRUB_NOT_VERIFIED")
