"""What was read of a volume after it was erased."""

from __future__ import annotations

from dataclasses import dataclass

from clonepool.domain.states import VerifyMode


@dataclass(frozen=True, kw_only=True)
class ReadBack:
    """What was read after an erasure, and what it was held against.

    ``result``: ``passed``; ``none``, nothing was asked for; ``gone``, there was nothing left to
    read. ``expected``: ``zeros``, ``image`` (the bytes of the image's version) or "". ``digest`` is
    SHA-256 of the bytes in the order in which they were read, hex.
    """

    mode: VerifyMode = VerifyMode.NONE
    result: str = "none"
    expected: str = ""
    bytes_read: int = 0
    digest: str = ""
