"""The logical volumes that are ours: remembered while their devices are there, else looked up."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from clonepool.backends.device_mapper import MappedDevice, find_device
from clonepool.backends.device_users import describe_users
from clonepool.backends.lvm_errors import is_absent, is_taken
from clonepool.backends.lvm_group import Kind, LogicalVolume, PoolFacts, VolumeGroup
from clonepool.backends.lvm_pool import pool_devices
from clonepool.backends.lvm_settings import LvmSettings
from clonepool.errors import AlreadyExists, CommandError, NotFound, Unavailable

log = logging.getLogger(__name__)
# udev looks into a device for a moment whenever a writer closes it
_LET_GO_S: Final = 1.0
_POLL_S: Final = 0.02


class LvmObjects:
    """What is remembered spares a process on the way to a server; LVM's record stays the truth.

    Whatever is answered from memory was asked of the kernel in the same call: a device that is
    there. One that is not is looked up with LVM, and made again where LVM has it.
    """

    def __init__(self, settings: LvmSettings) -> None:
        self._settings = settings
        self.group = VolumeGroup(settings)
        self._known: dict[str, LogicalVolume] = {}

    def open(self) -> PoolFacts:
        """Mend what a killed process or a reboot left, then tell how the pool was made."""
        facts, found = self.group.look()
        self._resume(found.values())
        self._activate_all(self._keep(found))
        for volume in found.values():
            if volume.kind is Kind.UNFINISHED:
                self._guarded(f"removing unfinished {volume.name}", self.group.remove, volume.name)
        return facts

    def all(self) -> Iterable[LogicalVolume]:
        """Every finished one, as LVM has them now."""
        return self._keep(self.group.look()[1]).values()

    def remembered(self, name: str) -> LogicalVolume | None:
        """One that is known and has its device; None may also mean that LVM was not asked."""
        known = self._known.get(name)
        return known if known is not None and self.device(name) is not None else None

    def get(self, name: str) -> LogicalVolume:
        """A finished one, active or not. Raises NotFound."""
        known = self.remembered(name)
        if known is None:
            known = self._keep(self.group.look()[1]).get(name)
        if known is None:
            raise NotFound(f"{name} is not in {self._settings.pool}", reason="NO_OBJECT")
        return known

    def device(self, name: str) -> MappedDevice | None:
        """Its device, None while it is not active."""
        return find_device(self.group.device(name))

    def active_path(self, name: str) -> Path:
        """The node of its device, which is made if it is not there. Raises NotFound."""
        if self.remembered(name) is None:
            self._activate([self.get(name)])
        return self.group.path(name)

    def make(self, volume: LogicalVolume, create: Callable[[], None]) -> LogicalVolume | None:
        """Create one; returns the finished one that has the name already, None when it is new.

        An unfinished one, which a killed process left, makes room. Raises AlreadyExists for a
        logical volume that is not ours.
        """
        try:
            create()
        except CommandError as error:
            if not is_taken(error):
                # one that was cut short may have left the image suspended, for all its readers
                self._resume(self._known.values())
                raise
            return self._make_room(volume, create)
        self._remember(volume)
        return None

    def finish(self, volume: LogicalVolume) -> None:
        """What was made as unfinished is whole from now on, and of this kind."""
        self.group.finish(volume.name, kind=volume.kind)
        self._remember(volume)

    def remove(self, name: str) -> None:
        """Remove it, finished or not; one that is gone already is no error.

        Raises Unavailable, naming the holders, while its device is open.
        """
        if self.remembered(name) is None and name not in self.group.look()[1]:
            return
        self._expect_unused(name)
        try:
            self.group.remove(name)
        except CommandError as error:
            if not is_absent(error):
                raise
        self._known.pop(name, None)

    def _make_room(self, volume: LogicalVolume, create: Callable[[], None]) -> LogicalVolume | None:
        found = self.group.look()[1].get(volume.name)
        if found is None:
            raise AlreadyExists(
                f"{self.group.volume(volume.name)} in {self._settings.volume_group} is a logical "
                "volume of somebody else's; rename it (lvrename), or set another prefix"
            )
        if found.kind is not Kind.UNFINISHED:
            self._remember(found)
            self.active_path(found.name)
            return found
        self.group.remove(volume.name)
        create()
        self._remember(volume)
        return None

    def _expect_unused(self, name: str) -> None:
        deadline = time.monotonic() + _LET_GO_S
        while (device := self.device(name)) is not None and device.open_count:
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"{self.group.path(name)} can't be removed: it is held open by "
                    f"{describe_users(device.number)}; end that, then it goes on by itself",
                    reason="VOLUME_HELD",
                    retry_after_s=1.0,
                )
            time.sleep(_POLL_S)

    def _remember(self, volume: LogicalVolume) -> None:
        if volume.kind is not Kind.UNFINISHED:
            self._known[volume.name] = volume

    def _keep(self, found: Mapping[str, LogicalVolume]) -> Mapping[str, LogicalVolume]:
        finished = {
            name: volume for name, volume in found.items() if volume.kind is not Kind.UNFINISHED
        }
        self._known = finished
        return dict(finished)

    def _resume(self, found: Iterable[LogicalVolume]) -> None:
        """A device that a killed command left suspended hangs whoever reads it: load it again."""
        stuck = [
            self.group.volume(volume.name)
            for volume in found
            if (device := self.device(volume.name)) is not None
            and (device.suspended or device.read_only is not volume.read_only)
        ]
        if any(device.suspended for device in self._pool_devices()):
            stuck.insert(0, self._settings.thin_pool)
        for volume in stuck:
            self._guarded(f"loading {volume} again", self.group.refresh, [volume])

    def _pool_devices(self) -> Sequence[MappedDevice]:
        found = map(find_device, pool_devices(self._settings))
        return [device for device in found if device is not None]

    def _activate_all(self, found: Mapping[str, LogicalVolume]) -> None:
        inactive = [volume for name, volume in found.items() if self.device(name) is None]
        if inactive or not self._pool_devices():
            self._guarded("activating after a reboot", self._activate, inactive)

    def _activate(self, volumes: Sequence[LogicalVolume]) -> None:
        """Make their devices; none given: the pool's.

        A command that was killed may have put a snapshot on record and not told the pool of it.
        LVM makes up for that when it loads the origin again; the origin is an image, which never
        changes, so the snapshot is what it would have been.
        """
        names = [volume.name for volume in volumes]
        origins = {volume.origin for volume in volumes if volume.origin}
        try:
            self.group.activate(names)
        except CommandError:
            if not origins:
                raise
            self.group.refresh(origins)
            self.group.activate(names)

    def _guarded(self, doing: str, step: Callable[..., None], *arguments: object) -> None:
        """One that can't be mended must not keep all others from their servers."""
        try:
            step(*arguments)
        except CommandError as error:
            log.warning("storage %s: %s: %s", self._settings.pool, doing, error)
