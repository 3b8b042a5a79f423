"""The storage drivers by name, imported when a storage first uses one."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import ClassVar, Final, Protocol, Self, cast

from clonepool.backends.base import StorageBackend
from clonepool.config import DriverSettings
from clonepool.errors import InvalidArgument

DRIVERS: Final[Mapping[str, str]] = {
    "file": "clonepool.backends.file:FileBackend",
    "memory": "clonepool.backends.memory:MemoryBackend",
}


class _DriverClass(Protocol):
    """What a driver's class offers besides the contract: its options, and a way to open it."""

    OPTIONS: ClassVar[Mapping[str, str]]

    @classmethod
    def from_options(cls, options: Mapping[str, str], *, default_directory: Path) -> Self: ...


def create_backend(settings: DriverSettings, *, default_directory: Path) -> StorageBackend:
    """Open one storage; the file driver lies in ``default_directory`` unless told otherwise.

    Raises InvalidArgument for an unknown driver or option, naming the known ones, and what the
    driver raises when it opens.
    """
    target = DRIVERS.get(settings.driver)
    if target is None:
        raise InvalidArgument.field(
            f"storages.{settings.name}.driver",
            f"{settings.driver!r} is no storage driver; known: {', '.join(sorted(DRIVERS))}",
        )
    driver = cast(type[_DriverClass], _load(target))
    _check_options(settings, known=driver.OPTIONS)
    opened = driver.from_options(settings.options, default_directory=default_directory)
    return cast(StorageBackend, opened)


def is_hostless(driver: str) -> bool:
    """Whether every node reaches the same objects by a driver; opens nothing."""
    target = DRIVERS.get(driver)
    return target is not None and cast(type[StorageBackend], _load(target)).hostless


def _load(target: str) -> object:
    module, _, class_name = target.partition(":")
    return getattr(import_module(module), class_name)


def _check_options(settings: DriverSettings, *, known: Mapping[str, str]) -> None:
    for option in settings.options:
        if option not in known:
            words = "; ".join(f"{name} ({meaning})" for name, meaning in sorted(known.items()))
            raise InvalidArgument.field(
                f"storages.{settings.name}.{option}",
                f"driver {settings.driver} has no such option; it has: {words}",
            )
