"""The options of an LVM storage, read and checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from clonepool.errors import InvalidArgument

LVM_OPTIONS: Final[Mapping[str, str]] = {
    "volume_group": "the volume group that holds the thin pool",
    "thin_pool": "the thin pool that images and volumes lie in",
    "prefix": "beginning of the names of its logical volumes, clonepool- unless told otherwise",
    "data_watermark": "how full the pool's data may be before nothing is cloned, 85%",
    "metadata_watermark": "how full the pool's metadata may be before nothing is cloned, 75%",
    "lvm_config": "settings for LVM's commands, as in lvm.conf, for this storage only",
}
_DEFAULT_PREFIX: Final = "clonepool-"
_DEFAULT_DATA: Final = "85%"
_DEFAULT_METADATA: Final = "75%"
_LVM_NAME: Final = re.compile(r"[a-zA-Z0-9+_.][a-zA-Z0-9+_.-]{0,99}")
_PREFIX: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,30}-")
_PERCENT: Final = re.compile(r"([1-9]\d?)%")


@dataclass(frozen=True, kw_only=True)
class LvmSettings:
    """Where a storage lies and how full it may become; watermarks in percent, 1 to 99."""

    volume_group: str
    thin_pool: str
    prefix: str = _DEFAULT_PREFIX
    data_watermark: int = 85
    metadata_watermark: int = 75
    lvm_config: str = ""

    @property
    def pool(self) -> str:
        """The thin pool as LVM's commands name it."""
        return f"{self.volume_group}/{self.thin_pool}"


def read_lvm_settings(options: Mapping[str, str]) -> LvmSettings:
    """Raises InvalidArgument naming the option."""
    return LvmSettings(
        volume_group=_lvm_name(options, "volume_group"),
        thin_pool=_lvm_name(options, "thin_pool"),
        prefix=_prefix(options.get("prefix", _DEFAULT_PREFIX)),
        data_watermark=_percent(options, "data_watermark", default=_DEFAULT_DATA),
        metadata_watermark=_percent(options, "metadata_watermark", default=_DEFAULT_METADATA),
        lvm_config=options.get("lvm_config", ""),
    )


def _lvm_name(options: Mapping[str, str], option: str) -> str:
    name = options.get(option, "")
    if not name:
        raise InvalidArgument.field(option, f"is needed: {LVM_OPTIONS[option]}")
    if _LVM_NAME.fullmatch(name) is None or name in (".", ".."):
        raise InvalidArgument.field(option, f"{name!r} is no name that LVM takes")
    return name


def _prefix(text: str) -> str:
    if _PREFIX.fullmatch(text) is None:
        why = f"{text!r} must be 2 to 32 of a-z, 0-9 and '-', and end with '-'"
        raise InvalidArgument.field("prefix", why)
    return text


def _percent(options: Mapping[str, str], option: str, *, default: str) -> int:
    text = options.get(option, default)
    found = _PERCENT.fullmatch(text)
    if found is None:
        raise InvalidArgument.field(option, f"{text!r} must be a share from 1% to 99%")
    return int(found[1])
