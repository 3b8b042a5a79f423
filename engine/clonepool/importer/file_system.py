"""What a raw image holds: an ext2/3/4 file system that files can be written into, or what else."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clonepool.errors import FailedPrecondition

_EXT_MAGIC_OFFSET: Final = 1024 + 56
_EXT_MAGIC: Final = b"\x53\xef"
# s_state at 58, s_feature_incompat at 96 of the superblock
_EXT_STATE: Final = struct.Struct("<H")
_EXT_STATE_OFFSET: Final = 1024 + 58
_EXT_INCOMPAT: Final = struct.Struct("<I")
_EXT_INCOMPAT_OFFSET: Final = 1024 + 96
_EXT_CLEAN: Final = 0x1
_EXT_HAS_ERRORS: Final = 0x2
_EXT_NEEDS_RECOVERY: Final = 0x4
_PEEK_BYTES: Final = 128 * 1024
# offset, magic, name; the more telling first, since a partition table's mark is common
_OTHERS: Final = (
    (0, b"XFSB", "an XFS file system"),
    (0x10040, b"_BHRfS_M", "a Btrfs file system"),
    (0, b"LUKS\xba\xbe", "a LUKS container"),
    (512, b"LABELONE", "an LVM physical volume"),
    (0, b"hsqs", "a squashfs"),
    (0x8001, b"CD001", "an ISO 9660 file system"),
    (3, b"NTFS    ", "an NTFS file system"),
    (82, b"FAT32   ", "a FAT file system"),
    (54, b"FAT", "a FAT file system"),
    (512, b"EFI PART", "a GPT partition table"),
    (510, b"\x55\xaa", "an MBR partition table"),
)


@dataclass(frozen=True, kw_only=True)
class ExtFacts:
    """An ext2/3/4 file system; ``needs_repair``: its journal was not played back, or errors."""

    needs_repair: bool


def find_ext(image: Path) -> ExtFacts:
    """Look for an ext2/3/4 file system that fills ``image``.

    Raises FailedPrecondition naming what is there instead and the way out.
    """
    with image.open("rb") as file:
        head = file.read(_PEEK_BYTES)
    if head[_EXT_MAGIC_OFFSET : _EXT_MAGIC_OFFSET + len(_EXT_MAGIC)] != _EXT_MAGIC:
        raise FailedPrecondition(
            f"files can't be written into this image: it holds {_what_else(head)}, and only "
            "an ext2, ext3 or ext4 file system without partitions can be written; put the files "
            "into the source before the import, such as with guestfish (Debian: libguestfs-tools)",
            reason="NO_EXT_FILE_SYSTEM",
        )
    (state,) = _EXT_STATE.unpack_from(head, _EXT_STATE_OFFSET)
    (incompat,) = _EXT_INCOMPAT.unpack_from(head, _EXT_INCOMPAT_OFFSET)
    clean = state & _EXT_CLEAN and not state & _EXT_HAS_ERRORS
    return ExtFacts(needs_repair=not clean or bool(incompat & _EXT_NEEDS_RECOVERY))


def _what_else(head: bytes) -> str:
    for offset, magic, name in _OTHERS:
        if head[offset : offset + len(magic)] == magic:
            return name
    return "no file system known here"
