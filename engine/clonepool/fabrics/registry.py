"""The fabric drivers by name; a driver's module is imported when it is first used."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol, cast

from clonepool.config import DriverSettings
from clonepool.errors import InvalidArgument
from clonepool.fabrics.base import Fabric

FABRIC_DRIVERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "iscsi": "clonepool.fabrics.iscsi:IscsiFabric",
        "lio": "clonepool.fabrics.lio:LioFabric",
        "local": "clonepool.fabrics.local:LocalFabric",
        "memory": "clonepool.fabrics.memory:MemoryFabric",
    }
)


class FabricDriver(Protocol):
    """What a driver's class offers beside the verbs of ``Fabric``."""

    def open(self, settings: DriverSettings, *, state_dir: Path) -> Fabric:
        """Read the options; starts nothing. Raises InvalidArgument."""


def create_fabric(settings: DriverSettings, *, state_dir: Path) -> Fabric:
    """Make the configured fabric; nothing is started or touched before its first verb.

    ``state_dir`` is the engine's; the fabric keeps to ``fabrics/<name>`` in it. Raises
    InvalidArgument for an unknown driver or option, naming the known ones.
    """
    reference = FABRIC_DRIVERS.get(settings.driver)
    if reference is None:
        known = ", ".join(sorted(FABRIC_DRIVERS))
        raise InvalidArgument.field(
            f"fabrics.{settings.name}.driver",
            f"{settings.driver!r} is not a fabric driver; known: {known}",
        )
    module, _, name = reference.partition(":")
    driver = cast(FabricDriver, getattr(import_module(module), name))
    return driver.open(settings, state_dir=state_dir / "fabrics" / settings.name)
