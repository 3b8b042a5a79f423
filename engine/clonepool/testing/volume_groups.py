"""LVM thin pools on loop devices to run drivers on; they need root, and clean up."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from clonepool import commands
from clonepool.backends.lvm_group import run_lvm
from clonepool.backends.lvm_settings import LvmSettings
from clonepool.errors import CommandError

_TIMEOUT_S: Final = 60.0
_MIB: Final = 2**20
_POOL: Final = "thin-pool"
_MODULES: Final = ("loop", "dm-mod", "dm-thin-pool")


@dataclass(frozen=True, kw_only=True)
class ThinGroup:
    """A volume group on one loop device, with a thin pool; ``medium`` is the file below it."""

    name: str
    medium: Path
    thin_pool: str = _POOL

    def settings(self, **changes: Any) -> LvmSettings:
        """An LVM storage's settings for its pool."""
        return replace(LvmSettings(volume_group=self.name, thin_pool=self.thin_pool), **changes)

    def path(self, volume: str) -> Path:
        """The device of a logical volume."""
        return Path("/dev", self.name, volume)

    def lvm(self, command: str, *words: str) -> str:
        """Run an LVM command as an administrator would; what it prints. Raises CommandError."""
        return run_lvm(command, *words).stdout.decode()

    def volumes(self) -> set[str]:
        """The names of all logical volumes but LVM's own."""
        return set(self.lvm("lvs", "--noheadings", "-o", "lv_name", self.name).split())

    def fill(self, *, size_mib: int) -> None:
        """Write so much data into a thin volume of somebody else's, named ``ballast``."""
        self.lvm(
            *("lvcreate", "-y", "-Wn", "-V", f"{size_mib}M", "-n", "ballast"),
            *("-T", f"{self.name}/{self.thin_pool}"),
        )
        with self.path("ballast").open("r+b", buffering=0) as device:
            for _step in range(size_mib):
                device.write(b"b" * _MIB)
            os.fsync(device.fileno())

    def deactivate(self) -> None:
        """What a shutdown leaves: no device of it is there."""
        self.lvm("vgchange", "-an", self.name)


def load_modules() -> None:
    """Load what device-mapper needs, where it is a module: nothing else does in a bare guest."""
    if shutil.which("modprobe") is None:
        return
    for module in _MODULES:
        with suppress(CommandError):
            commands.run(["modprobe", "--quiet", module], timeout_s=_TIMEOUT_S)


@contextmanager
def thin_group(
    *, size_mib: int = 400, chunk: str = "64k", metadata: str = "4M", disk_mib: int = 0
) -> Iterator[ThinGroup]:
    """A volume group with a thin pool of ``size_mib``; gone at the end.

    ``disk_mib`` is the disk's size where it matters what else fits.
    """
    load_modules()
    with tempfile.TemporaryDirectory(prefix="clonepool-lvm-") as folder:
        medium = Path(folder, "disk.img")
        with medium.open("wb") as file:
            file.truncate((disk_mib or size_mib + 40) * _MIB)
        loop = _run("losetup", "--find", "--show", str(medium)).strip()
        group = ThinGroup(name=f"cp-{os.path.basename(folder)[-8:]}", medium=medium)
        try:
            run_lvm("pvcreate", "-q", loop)
            run_lvm("vgcreate", "-q", group.name, loop)
            pool = f"{group.name}/{group.thin_pool}"
            make = ["-q", "-y", "-Zy", "-L", f"{size_mib}M", "-c", chunk]
            run_lvm("lvcreate", *make, "--poolmetadatasize", metadata, "-T", pool)
            yield group
        finally:
            _remove(group, loop)


def _remove(group: ThinGroup, loop: str) -> None:
    with suppress(CommandError):
        run_lvm("vgremove", "-q", "-y", "-f", group.name)
    with suppress(CommandError):
        run_lvm("pvremove", "-q", "-y", "-ff", loop)
    _run("losetup", "--detach", loop)


def _run(*argv: str) -> str:
    return commands.run(argv, timeout_s=_TIMEOUT_S).stdout.decode()
