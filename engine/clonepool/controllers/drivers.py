"""The configured storages and fabrics, each opened when it is first needed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from clonepool.backends.base import LOSS_FILE, StorageBackend
from clonepool.backends.limits import drivers_own, limits_of
from clonepool.backends.registry import create_backend, is_hostless
from clonepool.config import DriverSettings, Settings
from clonepool.domain.capacity import Limits
from clonepool.domain.facts import FabricFacts, StorageFacts
from clonepool.domain.nodes import StorageAbilities
from clonepool.errors import ClonepoolError, InvalidArgument, NotFound, Unavailable
from clonepool.fabrics.base import Fabric
from clonepool.fabrics.registry import create_fabric

log = logging.getLogger(__name__)
Driver = TypeVar("Driver")
# a single object that is missing is drift; of several, one would be there
_LEAST_TO_TELL = 2


class Drivers:
    """Opens drivers lazily: a fabric whose daemon is away must not keep the engine from serving."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._backends: dict[str, StorageBackend] = {}
        self._fabrics: dict[str, Fabric] = {}
        self._on_record: Callable[[str], Collection[str]] = _nothing

    def check(self) -> None:
        """Refuse settings that can't work, before anything is served.

        Raises InvalidArgument. A storage that is only away for now is logged: the others serve.
        """
        for settings in self._settings.fabrics.values():
            create_fabric(settings, state_dir=self._settings.state_dir)
        for name in self._settings.storages:
            try:
                total_bytes = self.backend(name).space().total_bytes
                self.limits(name, total_bytes=total_bytes)
            except InvalidArgument:
                raise
            except ClonepoolError as error:
                log.warning("storage %s: %s", name, error)

    def expect(self, on_record: Callable[[str], Collection[str]]) -> None:
        """Open a storage only when it holds something of what is on record of it, from now on.

        One that was opened before and does not is let go of, and opened again when it is asked for.
        """
        self._on_record = on_record
        for name, backend in self.open_backends().items():
            try:
                self._check_it_is_ours(name, backend)
            except ClonepoolError as error:
                log.warning("%s", error)
                with self._lock:
                    self._backends.pop(name, None)

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

    def abilities(self, name: str) -> StorageAbilities:
        """What a storage can do. Raises as ``backend`` does."""
        can = self.backend(name).capabilities()
        return StorageAbilities(
            thin_clones=can.thin_clones,
            thin_reason=can.thin_reason,
            scrubbing=can.scrubbing,
            location_kind=can.location_kind,
        )

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
        options = drivers_own(settings.options)
        folder = self._default_directory(settings.name)
        backend = create_backend(replace(settings, options=options), default_directory=folder)
        self._check_it_is_ours(settings.name, backend)
        return backend

    def _check_it_is_ours(self, name: str, backend: StorageBackend) -> None:
        """Raise Unavailable where everything is missing: that is no storage that lost it all.

        It is a mount point without its disk, or a path that was changed.
        """
        wanted = self._on_record(name)
        if len(wanted) < _LEAST_TO_TELL or any(_is_there(backend, each) for each in wanted):
            return
        if backend.takes_loss():
            log.warning("storage %s: that all its objects are lost was said", name)
            return
        text = (
            f"storage {name} holds none of the {len(wanted)} objects that are on record: mount its "
            "file system, or set its path right, and the engine goes on by itself; if they are "
            f"lost for good, say so by an empty file {LOSS_FILE} in its folder"
        )
        raise Unavailable(text, reason="STORAGE_AWAY", retry_after_s=1.0)

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

    def limits(self, name: str, *, total_bytes: int) -> Limits:
        """What its operator allows on a storage of this size. Raises InvalidArgument."""
        return limits_of(self._settings.storages[name], total_bytes=total_bytes)

    def stages_on_itself(self, name: str) -> bool:
        """Whether what is staged for a storage takes of the storage's own space."""
        return self._settings.storages[name].driver == "file"

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
            limits = limits_of(settings, total_bytes=space.total_bytes)
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
            reserve_bytes=limits.reserve_bytes,
            overcommit=limits.overcommit,
            warn_bytes=limits.warn_bytes,
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


def _nothing(_storage: str) -> Collection[str]:
    """Before the engine's state is open."""
    return ()


def _is_there(backend: StorageBackend, name: str) -> bool:
    try:
        backend.stat(name=name)
    except NotFound:
        return False
    return True
