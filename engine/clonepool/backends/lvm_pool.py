"""How full a thin pool is, asked of the kernel, and when it is too full to clone into."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, TypeGuard

from clonepool.backends.base import Space
from clonepool.backends.device_mapper import (
    MappedDevice,
    device_name,
    find_device,
    find_table,
)
from clonepool.backends.lvm_settings import LvmSettings
from clonepool.errors import (
    STORAGE_FULL,
    FailedPrecondition,
    ResourceExhausted,
    Unavailable,
)
from clonepool.units import format_size

# "12 119/1024 273/16384 - rw discard_passdown queue_if_no_space - 256"
_STATUS: Final = re.compile(r"\d+ (\d+)/(\d+) (\d+)/(\d+) \S+ (\S+)")
_FAILED: Final = "Fail"
_WRITABLE: Final = "rw"
_UNZEROED: Final = "skip_block_zeroing"


@dataclass(frozen=True, kw_only=True)
class PoolUse:
    """Blocks of data and of metadata; ``mode`` is rw, ro or out_of_data_space."""

    metadata_used: int
    metadata_blocks: int
    data_used: int
    data_blocks: int
    mode: str

    @property
    def metadata_percent(self) -> float:
        """Of the metadata, 0 to 100."""
        return 100 * self.metadata_used / self.metadata_blocks

    @property
    def data_percent(self) -> float:
        """Of the data, 0 to 100."""
        return 100 * self.data_used / self.data_blocks


def pool_devices(settings: LvmSettings) -> tuple[str, str]:
    """The names of the pool's device: below its volumes, and as long as it has none."""
    group, volume = settings.volume_group, settings.thin_pool
    return (
        device_name(group=group, volume=volume, layer="tpool"),
        device_name(group=group, volume=volume),
    )


class ThinPool:
    """Figures of the pool now; nothing is spawned and nothing is written for them."""

    def __init__(self, settings: LvmSettings, *, chunk_bytes: int) -> None:
        self._settings = settings
        self._chunk_bytes = chunk_bytes
        self._devices = pool_devices(settings)

    def use(self) -> PoolUse:
        """Raises Unavailable when the pool is not active or has failed."""
        found = next((found for found in map(find_device, self._devices) if _is_pool(found)), None)
        if found is None:
            raise Unavailable(
                f"thin pool {self._settings.pool} is not active; run `vgchange -ay "
                f"{self._settings.volume_group}` and the engine goes on by itself",
                reason="STORAGE_AWAY",
            )
        fields = _STATUS.match(found.status)
        if fields is None:
            raise Unavailable(
                f"thin pool {self._settings.pool} has failed (the kernel says {found.status!r}); "
                f"deactivate it and run `lvconvert --repair {self._settings.pool}`",
                reason="STORAGE_FAILED",
            )
        numbers = [int(text) for text in fields.groups()[:4]]
        return PoolUse(
            metadata_used=numbers[0],
            metadata_blocks=numbers[1],
            data_used=numbers[2],
            data_blocks=numbers[3],
            mode=fields[5],
        )

    def space(self) -> Space:
        """Free is what may be filled below the watermarks."""
        use = self.use()
        allowed = use.data_blocks * self._settings.data_watermark // 100
        free = max(0, allowed - use.data_used)
        if use.metadata_percent >= self._settings.metadata_watermark:
            free = 0
        return Space(
            total_bytes=use.data_blocks * self._chunk_bytes, free_bytes=free * self._chunk_bytes
        )

    def check(self, *, doing: str = "", needed_bytes: int = 0) -> None:
        """Raise unless ``needed_bytes`` of new data stay below the watermarks.

        ResourceExhausted with the figures; Unavailable (away, failed, read-only);
        FailedPrecondition where the pool hands out blocks with what the last owner left in them.
        """
        use = self.use()
        before = f"{doing}: " if doing else ""
        self._check_zeroing(before)
        if use.mode == "ro":
            raise Unavailable(
                f"{before}thin pool {self._settings.pool} is read-only, after an error or without "
                "room for metadata; look at the kernel's log, then grow it (lvextend "
                f"--poolmetadatasize +1G {self._settings.pool}) or repair it (lvconvert --repair)",
                reason="STORAGE_READ_ONLY",
            )
        needed = -(-needed_bytes // self._chunk_bytes)
        data_percent = 100 * (use.data_used + needed) / use.data_blocks
        if use.mode != _WRITABLE or data_percent >= self._settings.data_watermark:
            raise self._full_of_data(before, use, needed_bytes)
        if use.metadata_percent >= self._settings.metadata_watermark:
            raise self._full_of_metadata(before, use)

    def _check_zeroing(self, before: str) -> None:
        if any(_UNZEROED in (find_table(device) or "") for device in self._devices):
            raise FailedPrecondition(
                f"{before}thin pool {self._settings.pool} no longer zeroes its blocks, so one "
                "volume could read what another has left in them; run "
                f"`lvchange -Zy {self._settings.pool}`",
                reason="POOL_NOT_ZEROING",
            )

    def _full_of_data(self, before: str, use: PoolUse, needed_bytes: int) -> ResourceExhausted:
        needs = f"{format_size(needed_bytes)} more are needed, " if needed_bytes else ""
        return ResourceExhausted(
            f"{before}thin pool {self._settings.pool} holds {use.data_percent:.1f}% of "
            f"{format_size(use.data_blocks * self._chunk_bytes)} data, {needs}and nothing is "
            f"cloned above its watermark of {self._settings.data_watermark}%: a full pool stalls "
            "every server; scrub released volumes (clonepool scrub run), delete images or grow it "
            f"(lvextend -L +10G {self._settings.pool})",
            reason=STORAGE_FULL,
            metadata={
                "data_percent": f"{use.data_percent:.1f}",
                "metadata_percent": f"{use.metadata_percent:.1f}",
                "needed_bytes": str(needed_bytes),
                "free_bytes": str(self.space().free_bytes),
            },
        )

    def _full_of_metadata(self, before: str, use: PoolUse) -> ResourceExhausted:
        return ResourceExhausted(
            f"{before}thin pool {self._settings.pool} has used {use.metadata_percent:.1f}% of its "
            "metadata, and nothing is cloned above its watermark of "
            f"{self._settings.metadata_watermark}%: without metadata the pool turns read-only; "
            "delete volumes or give it more "
            f"(lvextend --poolmetadatasize +1G {self._settings.pool})",
            reason=STORAGE_FULL,
            metadata={
                "data_percent": f"{use.data_percent:.1f}",
                "metadata_percent": f"{use.metadata_percent:.1f}",
                "needed_bytes": "0",
                "free_bytes": "0",
            },
        )


def _is_pool(found: MappedDevice | None) -> TypeGuard[MappedDevice]:
    return found is not None and found.target == "thin-pool"
