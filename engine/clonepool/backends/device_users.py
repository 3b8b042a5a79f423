"""Who has a block device open: processes, mounts, and devices that lie on it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

# a message names some; whoever wants all asks fuser
_NAMED: Final = 4


def describe_users(number: int) -> str:
    """Words for whoever uses the device ``number`` (as os.makedev), as far as this user can see."""
    found = [*_mounts(number), *_stacked(number), *_processes(number)]
    if not found:
        return "somebody that this process can't see"
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return ", ".join(found[:_NAMED]) + more


def _mounts(number: int) -> Iterator[str]:
    """The mount points of this mount namespace."""
    wanted = f"{os.major(number)}:{os.minor(number)}"
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        fields = line.split(" ")
        if fields[2] == wanted:
            yield f"the mount at {fields[4]}"


def _stacked(number: int) -> Iterator[str]:
    """Devices made of this one: LVM, a RAID, a loop device."""
    folder = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/holders")
    with suppress(OSError):
        for name in sorted(os.listdir(folder)):
            yield f"the device {name} on it"


def _processes(number: int) -> Iterator[str]:
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and _has_open(process, number):
            with suppress(OSError):
                yield f"process {process.name} ({(process / 'comm').read_text().strip()})"


def _has_open(process: Path, number: int) -> bool:
    try:
        descriptors = os.listdir(process / "fd")
    except OSError:  # gone meanwhile, or another user's
        return False
    for descriptor in descriptors:
        with suppress(OSError):
            found = os.stat(process / "fd" / descriptor)
            if stat.S_ISBLK(found.st_mode) and found.st_rdev == number:
                return True
    return False
