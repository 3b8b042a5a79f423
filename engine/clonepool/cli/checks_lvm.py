"""Doctor's check of each storage on LVM: rights, programs, the thin pool and how full it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from clonepool.backends.lvm import LvmBackend
from clonepool.cli.checks import Check, broken, good
from clonepool.config import DriverSettings, Settings
from clonepool.errors import ClonepoolError
from clonepool.units import format_size

_DRIVER: Final = "lvm"


def check_lvm(settings: Settings) -> Iterator[Check]:
    """One for each storage with the driver lvm; nothing is changed."""
    for storage in settings.storages.values():
        if storage.driver == _DRIVER:
            yield _check(storage)


def _check(storage: DriverSettings) -> Check:
    title = f"storage {storage.name}"
    # what every storage has is not the driver's
    options = {key: text for key, text in storage.options.items() if key in LvmBackend.OPTIONS}
    try:
        space = LvmBackend.probe(options)
    except ClonepoolError as error:
        return broken(title, error.one_line(), "see docs/lvm.md")
    pool = f"{options['volume_group']}/{options['thin_pool']}"
    free = f"{format_size(space.free_bytes)} of {format_size(space.total_bytes)}"
    return good(title, f"thin pool {pool}: {free} free below its watermarks")
