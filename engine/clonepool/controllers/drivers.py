"""The configured storages and fabrics, each opened when it is first needed."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from clonepool.backends.base import StorageBackend
from clonepool.backends.registry import create_backend, is_hostless
from clonepool.config import DriverSettings, Settings
from clonepool.domain.facts import FabricFacts, StorageFacts
from clonepool.errors import ClonepoolError, InvalidArgument
from clonepool.fabrics.base import Fabric
from clonepool.fabrics.registry import create_fabric
from clonepool.units import parse_size

log = logging.getLogger(__name__)
Driver = TypeVar("Driver")
_DEFAULT_RESERVE = "5%"
_PERCENT = re.compile(r"(\d{1,2}(\.\d+)?|100)%")


class Drivers:
    """Opens drivers lazily: a fabric whose daemon is away must not keep the engine from serving."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._backends: dict[str, StorageBackend] = {}
        self._fabrics: dict[str, Fabric] = {}

    def check(self) -> None:
        """Refuse settings that can't work, before anything is served.

        Raises InvalidArgument. A storage that is only away for now is logged: the others serve.
        """
        for settings in self._settings.fabrics.values():
            create_fabric(settings, state_dir=self._settings.state_dir)
        for name in self._settings.storages:
            try:
                self.backend(name)
                self.reserve_bytes(name)
            except InvalidArgument:
                raise
            except ClonepoolError as error:
                log.warning("storage %s: %s", name, error)

    def backend(self, name: str) -> StorageBackend:
        """The storage of that name. Raises InvalidArgument (unknown), or what opening raises."""
        return self._get(
            name,
            field="storage",
            opened=self._backends,
            configured=self._settings.storages,
            open_driver=self._open_backend,
        )

    def hostless_storages(self) -> tuple[str, ...]:
        """The storages that every node reaches."""
        return tuple(sorted(name for name in self._settings.storages if self.is_hostless(name)))

    def is_hostless(self, name: str) -> bool:
        """Whether every node reaches a storage; one that is not this engine's is none."""
        opened, configured = self._backends.get(name), self._settings.storages.get(name)
        if opened is not None:
            return opened.hostless
        return configured is not None and is_hostless(configured.driver)

    def fabric(self, name: str) -> Fabric:
        """The fabric of that name. Raises InvalidArgument (unknown), or what opening raises."""
        return self._get(
            name,
            field="fabric",
            opened=self._fabrics,
            configured=self._settings.fabrics,
            open_driver=self._open_fabric,
        )

    def _get(
        self,
        name: str,
        *,
        field: str,
        opened: dict[str, Driver],
        configured: Mapping[str, DriverSettings],
        open_driver: Callable[[DriverSettings], Driver],
    ) -> Driver:
        driver = opened.get(name)
        if driver is not None:
            return driver
        if name not in configured:
            known = ", ".join(sorted(configured))
            raise InvalidArgument.field(field, f"the engine has no {field} {name}; it has {known}")
        with self._lock:
            if name not in opened:
                opened[name] = open_driver(configured[name])
            return opened[name]

    def _open_backend(self, settings: DriverSettings) -> StorageBackend:
        options = {key: value for key, value in settings.options.items() if key != "reserve"}
        folder = self._default_directory(settings.name)
        return create_backend(replace(settings, options=options), default_directory=folder)

    def _default_directory(self, name: str) -> Path:
        return self._settings.state_dir / "storage" / name

    def staging_dir(self, name: str) -> Path:
        """Where imports for a storage are made ready.

        For the file driver on its own file system: then the finished file is renamed, not copied.
        """
        options = self._settings.storages[name].options
        folder = Path(options.get("path", self._default_directory(name)))
        return folder.expanduser() / "staging"

    def storage_folders(self) -> list[Path]:
        """Where the file driver keeps each storage; those of others are folders that are not."""
        return [self.staging_dir(name).parent for name in self._settings.storages]

    def _open_fabric(self, settings: DriverSettings) -> Fabric:
        return create_fabric(settings, state_dir=self._settings.state_dir)

    def reserve_bytes(self, name: str) -> int:
        """Free space of a storage that clones must leave alone."""
        text = self._settings.storages[name].options.get("reserve", _DEFAULT_RESERVE)
        field = f"storages.{name}.reserve"
        if not text.endswith("%"):
            return parse_size(text, field=field)
        if not _PERCENT.fullmatch(text):
            raise InvalidArgument.field(field, f"{text!r} is no share; write 5% or 10GiB")
        return int(self.backend(name).space().total_bytes * float(text[:-1]) / 100)

    def open_fabrics(self) -> Mapping[str, Fabric]:
        """The fabrics opened so far."""
        with self._lock:
            return dict(self._fabrics)

    def open_backends(self) -> Mapping[str, StorageBackend]:
        """The storages opened so far."""
        with self._lock:
            return dict(self._backends)

    def storage_facts(self) -> tuple[StorageFacts, ...]:
        """Each configured storage as it is now."""
        return tuple(self._storage_facts(item) for item in self._settings.storages.values())

    def _storage_facts(self, settings: DriverSettings) -> StorageFacts:
        facts = StorageFacts(name=settings.name, driver=settings.driver)
        try:
            backend = self.backend(settings.name)
            can, space = backend.capabilities(), backend.space()
        except ClonepoolError as error:
            return replace(facts, error=str(error))
        return replace(
            facts,
            thin_clones=can.thin_clones,
            thin_reason=can.thin_reason,
            scrub_methods=tuple(sorted(can.scrub_methods)),
            erasure_note=can.erasure_note,
            purges=tuple(sorted(can.purges)),
            total_bytes=space.total_bytes,
            free_bytes=space.free_bytes,
            reserve_bytes=self.reserve_bytes(settings.name),
        )

    def fabric_facts(self) -> tuple[FabricFacts, ...]:
        """Each configured fabric as it is now; one that nobody used yet is not started for it."""
        return tuple(self._fabric_facts(item) for item in self._settings.fabrics.values())

    def _fabric_facts(self, settings: DriverSettings) -> FabricFacts:
        facts = FabricFacts(name=settings.name, driver=settings.driver)
        fabric = self.open_fabrics().get(settings.name)
        if fabric is None:
            return replace(facts, notes="not in use yet")
        try:
            can = fabric.capabilities()
            fabric.incarnation()
        except ClonepoolError as error:
            return replace(facts, error=str(error))
        return replace(
            facts,
            chap=can.chap,
            read_only_enforced_by=can.read_only_enforced_by,
            sees_sessions=can.sees_sessions,
            notes=can.notes,
        )

    def close(self) -> None:
        """Let go of every fabric; exports and sessions stay."""
        for fabric in self.open_fabrics().values():
            fabric.close()
