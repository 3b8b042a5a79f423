"""Questions to the kernel's device-mapper by ioctl: microseconds, where a command is a process."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from dataclasses import dataclass
from typing import Final

from clonepool.errors import FailedPrecondition

CONTROL: Final = "/dev/mapper/control"
# linux/dm-ioctl.h: struct dm_ioctl, struct dm_target_spec
_HEADER: Final = struct.Struct("=3I 2I I i I I I Q 128s 129s 7x")
_TARGET: Final = struct.Struct("=QQiI16s")
_VERSION: Final = (4, 0, 0)
_TABLE_STATUS: Final = 0xC000_0000 | (_HEADER.size << 16) | (0xFD << 8) | 12
_READ_ONLY: Final = 1 << 0
_SUSPENDED: Final = 1 << 1
_TABLE_INSTEAD: Final = 1 << 4
# without it the kernel commits the thin pool's metadata before it answers
_NO_FLUSH: Final = 1 << 11
_ANSWER_BYTES: Final = 16 * 1024
_NAME_LIMIT: Final = 127
SECTOR_BYTES: Final = 512


@dataclass(frozen=True, kw_only=True)
class MappedDevice:
    """A device as the kernel has it; ``status`` is what its only target says of itself."""

    number: int  # as os.makedev
    size_bytes: int
    open_count: int
    read_only: bool
    suspended: bool
    target: str
    status: str


def device_name(*, group: str, volume: str, layer: str = "") -> str:
    """LVM's name for a logical volume's device: hyphens doubled, the parts joined by one.

    Raises FailedPrecondition for one that the kernel can't hold.
    """
    parts = [part.replace("-", "--") for part in (group, volume)]
    name = "-".join([*parts, *([layer] if layer else [])])
    if len(name) > _NAME_LIMIT:
        raise FailedPrecondition(
            f"{group}/{volume} makes a device name of {len(name)} characters, hyphens counting "
            f"twice, and the kernel takes {_NAME_LIMIT}; use a shorter volume group or prefix",
            reason="NAME_TOO_LONG",
        )
    return name


def find_device(name: str) -> MappedDevice | None:
    """What the kernel says of a device now, None when it has none of that name. Raises OSError."""
    answer = _ask(name, flags=_NO_FLUSH)
    if answer is None:
        return None
    found = _HEADER.unpack_from(answer)
    length, target, status = _first_target(answer, at=found[4])
    return MappedDevice(
        number=os.makedev(found[10] >> 8 & 0xFFF, found[10] & 0xFF | found[10] >> 12 & 0xFFF00),
        size_bytes=length * SECTOR_BYTES,
        open_count=found[6],
        read_only=bool(found[7] & _READ_ONLY),
        suspended=bool(found[7] & _SUSPENDED),
        target=target,
        status=status,
    )


def find_table(name: str) -> str | None:
    """The words that the device's target was made with, None without the device."""
    answer = _ask(name, flags=_NO_FLUSH | _TABLE_INSTEAD)
    if answer is None:
        return None
    return _first_target(answer, at=_HEADER.unpack_from(answer)[4])[2]


def _ask(name: str, *, flags: int) -> bytearray | None:
    buffer = bytearray(_ANSWER_BYTES)
    _HEADER.pack_into(
        buffer, 0, *_VERSION, _ANSWER_BYTES, _HEADER.size, 0, 0, flags, 0, 0, 0, name.encode(), b""
    )
    descriptor = os.open(CONTROL, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, _TABLE_STATUS, buffer)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        raise
    finally:
        os.close(descriptor)
    return buffer


def _first_target(answer: bytearray, *, at: int) -> tuple[int, str, str]:
    """Length in sectors, kind and words of the first target; a device of ours has only one."""
    if not _HEADER.unpack_from(answer)[5]:
        return 0, "", ""
    _start, length, _status, _next, kind = _TARGET.unpack_from(answer, at)
    words = bytes(answer[at + _TARGET.size :]).partition(b"\0")[0]
    return length, kind.rstrip(b"\0").decode(), words.decode().strip()
