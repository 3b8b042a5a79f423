"""LVM's commands on one volume group, and only on the logical volumes that are ours."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from clonepool import commands
from clonepool.backends.device_mapper import device_name
from clonepool.backends.lvm_settings import LvmSettings
from clonepool.errors import CommandError, FailedPrecondition, InvalidArgument, Unavailable

# a command waits for the group's lock, which another tool may hold while it moves extents
_TIMEOUT_S: Final = 120.0
_NAME_LIMIT: Final = 127
_TAG: Final = "clonepool."
_SIZE_TAG: Final = f"{_TAG}size="
_FIELDS: Final = (
    "lv_name,lv_size,lv_tags,lv_permissions,pool_lv,origin,segtype,zero,discards,chunk_size"
)
_UDEV: Final = Path("/run/udev/control")
# every change would leave a copy of the group's whole record, for a month
_CONFIG: Final = "backup { archive = 0 }"
_WITHOUT_UDEV: Final = (
    "activation { udev_sync = 0 udev_rules = 0 } "
    'devices { obtain_device_list_from_udev = 0 external_device_info_source = "none" }'
)


_HALF_MADE: Final = re.compile(
    r"Thin pool (\S+) \(\d+:\d+\) already contain thin device with device_id (\d+)"
)


class Kind(StrEnum):
    """What a logical volume of ours is; it stands in a tag of its own."""

    IMAGE = "image"
    THIN = "thin"
    FULL = "full"
    UNFINISHED = "unfinished"


@dataclass(frozen=True, kw_only=True)
class LogicalVolume:
    """One of ours, as LVM has it. ``device_bytes`` is ``size_bytes`` in whole extents.

    ``origin`` is the logical volume that it is a snapshot of, "" where that is gone.
    """

    name: str  # the object's
    kind: Kind
    size_bytes: int
    device_bytes: int
    read_only: bool
    origin: str = ""


@dataclass(frozen=True, kw_only=True)
class PoolFacts:
    """How the thin pool was made."""

    chunk_bytes: int
    discards: str  # passdown, nopassdown or ignore


class VolumeGroup:
    """One command at a time: LVM's own lock would only make them wait where their time runs."""

    def __init__(self, settings: LvmSettings) -> None:
        self._settings = settings
        self._turn = threading.Lock()

    def volume(self, name: str) -> str:
        """The logical volume's name. Raises InvalidArgument for one that is too long for LVM."""
        full = self._settings.prefix + name
        if len(full) > _NAME_LIMIT:
            why = f"{full} has {len(full)} characters, and LVM takes {_NAME_LIMIT}"
            raise InvalidArgument.field("name", why)
        return full

    def device(self, name: str) -> str:
        """The name that device-mapper has for it while it is active."""
        return device_name(group=self._settings.volume_group, volume=self.volume(name))

    def path(self, name: str) -> Path:
        """The device node, which is there while it is active."""
        return Path("/dev") / self._settings.volume_group / self.volume(name)

    def look(self) -> tuple[PoolFacts, Mapping[str, LogicalVolume]]:
        """The thin pool and every logical volume of ours in it, unfinished ones too.

        Raises CommandError, and FailedPrecondition where the pool is no thin pool.
        """
        rows = self._report()
        pool = next((row for row in rows if row["lv_name"] == self._settings.thin_pool), None)
        return _pool_facts(pool, self._settings), self._ours(rows)

    def create(self, name: str, *, size_bytes: int) -> None:
        """Make an empty thin volume, active, marked as unfinished."""
        self._run(
            *("lvcreate", "-y", "-kn", "-ay", "-Wn", "-V", f"{size_bytes}b"),
            *("-n", self.volume(name), "-T", self._settings.pool),
            *_tags("--addtag", Kind.UNFINISHED, size_bytes),
        )

    def snapshot(self, name: str, *, image: LogicalVolume) -> None:
        """Make a writable thin snapshot, active; it is whole as soon as it is on record."""
        self._run(
            *("lvcreate", "-y", "-s", "-kn", "-ay", "-prw", "-n", self.volume(name)),
            *_tags("--addtag", Kind.THIN, image.size_bytes),
            self._full_name(image.name),
        )

    def finish(self, name: str, *, kind: Kind) -> None:
        """Take the mark of the unfinished off; an image becomes read-only with the same record."""
        self._run(
            *("lvchange", *(["-pr"] if kind is Kind.IMAGE else [])),
            *("--deltag", f"{_TAG}{Kind.UNFINISHED}", "--addtag", f"{_TAG}{kind}"),
            self._full_name(name),
        )

    def remove(self, name: str) -> None:
        """Remove one for good; what is in use is tried for five seconds."""
        self._run("lvremove", "-y", "-f", self._full_name(name))

    def activate(self, names: Iterable[str]) -> None:
        """Make devices of logical volumes that have none, and of the pool."""
        wanted = [self._full_name(name) for name in names]
        self._run("lvchange", "-ay", "-K", *(wanted or [self._settings.pool]))

    def refresh(self, volumes: Iterable[str]) -> None:
        """Load devices again as they are on record: a killed command leaves them suspended.

        ``volumes`` are names of logical volumes.
        """
        names = [f"{self._settings.volume_group}/{volume}" for volume in volumes]
        self._run("lvchange", "--refresh", *names)

    def _ours(self, rows: Sequence[Mapping[str, str]]) -> Mapping[str, LogicalVolume]:
        found = {}
        for row in rows:
            name = row["lv_name"].removeprefix(self._settings.prefix)
            tags = row["lv_tags"].split(",")
            kind = next((kind for kind in Kind if f"{_TAG}{kind}" in tags), None)
            ours = row["pool_lv"] == self._settings.thin_pool and name != row["lv_name"]
            if ours and kind is not None:
                found[name] = LogicalVolume(
                    name=name,
                    kind=kind,
                    size_bytes=_size(tags, device_bytes=int(row["lv_size"])),
                    device_bytes=int(row["lv_size"]),
                    read_only=row["lv_permissions"].startswith("read-only"),
                    origin=row["origin"],
                )
        return found

    def _report(self) -> Sequence[Mapping[str, str]]:
        said = self._run(
            *("lvs", "--reportformat", "json", "--units", "b", "--nosuffix"),
            *("-o", _FIELDS, self._settings.volume_group),
        )
        try:
            report: Any = json.loads(said.stdout)["report"]
            rows = [row for part in report for row in part["lv"]]
            return [{field: str(row[field]) for field in _FIELDS.split(",")} for row in rows]
        except (ValueError, KeyError, TypeError) as error:
            raise Unavailable(
                f"`lvs {self._settings.volume_group}` prints what is no report of LVM's: {error!r};"
                " look at what it prints, and at lvm_config of the storage",
                reason="STORAGE_FAILED",
            ) from None

    def _full_name(self, name: str) -> str:
        return f"{self._settings.volume_group}/{self.volume(name)}"

    def _run(self, *words: str) -> commands.Output:
        with self._turn:
            try:
                return run_lvm(*words, config=self._settings.lvm_config)
            except CommandError as error:
                if not self._forget_half_made(error.stderr):
                    raise
            return run_lvm(*words, config=self._settings.lvm_config)

    def _forget_half_made(self, said: str) -> bool:
        """Mend what a command left that was killed after the kernel's part and before LVM's.

        The kernel has a thin device that LVM's record still has to ask for, and until it is gone
        LVM changes nothing in the pool. It never was a volume of anybody's: the kernel refuses to
        delete one that is in use.
        """
        found = _HALF_MADE.search(said)
        pool = device_name(
            group=self._settings.volume_group, volume=self._settings.thin_pool, layer="tpool"
        )
        if found is None or found[1] != pool:
            return False
        argv = ["dmsetup", "message", pool, "0", f"delete {found[2]}"]
        commands.run(argv, timeout_s=_TIMEOUT_S)
        return True


def run_lvm(command: str, *words: str, config: str = "") -> commands.Output:
    """Run one of LVM's commands; ``config`` is added to what this machine's lvm.conf says.

    Raises CommandError.
    """
    parts = [_CONFIG, "" if _UDEV.exists() else _WITHOUT_UDEV, config]
    argv = ["lvm", command, "--config", " ".join(part for part in parts if part), *words]
    return commands.run(argv, timeout_s=_TIMEOUT_S, env={"LVM_SUPPRESS_FD_WARNINGS": "1"})


def _tags(option: str, kind: Kind, size_bytes: int) -> list[str]:
    return [option, f"{_TAG}{kind}", option, f"{_SIZE_TAG}{size_bytes}"]


def _size(tags: Sequence[str], *, device_bytes: int) -> int:
    """The size that was asked for; what somebody cut is smaller, and that is what counts then."""
    said = [tag.removeprefix(_SIZE_TAG) for tag in tags if tag.startswith(_SIZE_TAG)]
    return min([device_bytes, *(int(text) for text in said if text.isdigit())])


def _pool_facts(row: Mapping[str, str] | None, settings: LvmSettings) -> PoolFacts:
    if row is None or row["segtype"] != "thin-pool":
        what = "is not there" if row is None else f"is {row['segtype']}, no thin pool"
        raise FailedPrecondition(
            f"{settings.pool} {what}; make one with `lvcreate -Zy -L SIZE -T {settings.pool}`, or "
            "set thin_pool of the storage",
            reason="NO_THIN_POOL",
        )
    if row["zero"] != "zero":
        # a block's first, partial write would show the last owner's bytes around it
        raise FailedPrecondition(
            f"thin pool {settings.pool} does not zero its blocks, so one volume could read what "
            f"another has left in them; run `lvchange -Zy {settings.pool}`",
            reason="POOL_NOT_ZEROING",
        )
    return PoolFacts(chunk_bytes=int(row["chunk_size"]), discards=row["discards"])
