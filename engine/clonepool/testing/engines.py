"""An engine in this process, on drivers and a clock that a test holds in its hands."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from clonepool.backends.base import StorageBackend
from clonepool.backends.memory import MemoryBackend
from clonepool.config import DriverSettings, Settings
from clonepool.controllers.drivers import Drivers
from clonepool.domain.model import (
    Attachment,
    AttachmentSpec,
    Event,
    ImageSpec,
    MasterImage,
    PageRequest,
    PoolSpec,
    PortionSpec,
    Ref,
    ReplicaPool,
    ScrubRun,
    ServerSpec,
    SystemUser,
    Volume,
)
from clonepool.domain.states import SystemUserKind, VersionState, VolumeState
from clonepool.engine import Engine
from clonepool.fabrics.base import Fabric
from clonepool.fabrics.memory import MemoryFabric

STORAGE: Final = "default"
FABRIC: Final = "iscsi"
USER: Final = SystemUser(name="acme", kind=SystemUserKind.CUSTOMER)
DEFAULT_IMAGE_BYTES: Final = 256 * 1024
_TIMEOUT_S: Final = 20.0
_LOOK_INTERVAL_S: Final = 0.005
_EVENTS: Final = 10_000


class ManualClock:
    """Time that passes only by ``advance``, and by a microsecond at each look: no two are equal."""

    def __init__(self, *, start: float = 1_800_000_000.0) -> None:
        self._now = start
        self._lock = threading.Lock()

    def __call__(self) -> float:
        """POSIX seconds."""
        with self._lock:
            self._now += 1e-6
            return self._now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        with self._lock:
            self._now += seconds


class GivenDrivers(Drivers):
    """Drivers that are open already; they outlive the engine, as a daemon does."""

    def __init__(
        self,
        settings: Settings,
        *,
        backends: Mapping[str, StorageBackend],
        fabrics: Mapping[str, Fabric],
    ) -> None:
        super().__init__(settings)
        self._backends.update(backends)
        self._fabrics.update(fabrics)


class EngineRig:
    """An engine that can be closed and opened again on the same state, storage and fabric.

    Use it as a context manager. ``folder`` holds the state and the images' sources; ``database`` is
    a PostgreSQL URL, "" for SQLite in the folder. Times out loudly: whatever is waited for fails
    with what was seen last.
    """

    def __init__(
        self,
        folder: Path,
        *,
        storage: StorageBackend | None = None,
        fabric: MemoryFabric | None = None,
        workers: int = 4,
        reserve: str = "0%",
        database: str = "",
    ) -> None:
        self.folder = folder
        self.clock = ManualClock()
        self.fabric = fabric or MemoryFabric()
        self._backends: dict[str, StorageBackend] = {}
        self._storages: dict[str, DriverSettings] = {}
        self.add_storage(STORAGE, storage or MemoryBackend(), reserve=reserve)
        self.settings = Settings(
            state_dir=folder / "state",
            listen="",
            node="node1",
            storages=self._storages,
            fabrics={FABRIC: DriverSettings(name=FABRIC, driver="memory")},
            workers=workers,
            database=database,
        )
        self._engine: Engine | None = None

    def add_storage(self, name: str, backend: StorageBackend, *, reserve: str = "0%") -> None:
        """Configure a storage for the next ``open``, or replace one."""
        self._backends[name] = backend
        options = {"reserve": reserve}
        self._storages[name] = DriverSettings(name=name, driver="memory", options=options)

    @property
    def storage(self) -> StorageBackend:
        """The default storage."""
        return self._backends[STORAGE]

    @property
    def engine(self) -> Engine:
        """The engine that runs now."""
        assert self._engine is not None, "the engine is closed"
        return self._engine

    def open(self, *, start: bool = True) -> Engine:
        """Open the engine on what an earlier one left."""
        drivers = GivenDrivers(
            self.settings, backends=self._backends, fabrics={FABRIC: self.fabric}
        )
        self._engine = Engine.open(self.settings, clock=self.clock, drivers=drivers)
        if start:
            self._engine.start()
        return self._engine

    def close(self) -> None:
        """Close the engine; once is enough."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()

    def reopen(self) -> Engine:
        """Close it and open it again."""
        self.close()
        return self.open()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    def advance(self, seconds: float) -> None:
        """Let time pass and have the background threads look at once."""
        self.clock.advance(seconds)
        self.wake()

    def wake(self) -> None:
        """Have the background threads look at once: deleting what never was changes nothing."""
        self.engine.images.delete(image_id="no-such-image")

    def wait_for(self, condition: Callable[[], Any], *, what: Callable[[], object] | str) -> None:
        """Poll until ``condition`` holds; fails with ``what`` when it never does."""
        deadline = time.monotonic() + _TIMEOUT_S
        while not condition():
            if time.monotonic() > deadline:
                seen = what if isinstance(what, str) else what()
                raise AssertionError(f"did not happen within {_TIMEOUT_S:g} s: {seen}")
            time.sleep(_LOOK_INTERVAL_S)

    def pass_time_until(self, condition: Callable[[], Any], *, what: Callable[[], object]) -> None:
        """Let a minute pass at each look: whatever is put off becomes due."""

        def look() -> bool:
            self.advance(61)
            return bool(condition())

        self.wait_for(look, what=what)

    def source(self, name: str, content: bytes) -> str:
        """A file to import; the path."""
        path = self.folder / name
        path.write_bytes(content)
        return str(path)

    def portion(self, name: str, *, fill: bytes = b"golden") -> PortionSpec:
        """A raw portion whose bytes are ``fill`` repeated."""
        content = (fill * (DEFAULT_IMAGE_BYTES // len(fill) + 1))[:DEFAULT_IMAGE_BYTES]
        return PortionSpec(source=self.source(name, content), format="raw")

    def add_image(self, name: str = "web", **changes: Any) -> MasterImage:
        """Import a master image of ``USER`` with a writable portion, and wait for it."""
        fields: dict[str, Any] = {"system_user": USER, "writable": self.portion(f"{name}-rw")}
        spec = ImageSpec(name=name, **{**fields, **changes})
        made = self.engine.images.create(spec=spec, token=f"token-{name}")
        self.wait_imported(name, number=1)
        return self.engine.images.get(ref=Ref(id=made.id))

    def update_image(self, name: str = "web", **changes: Any) -> MasterImage:
        """Give an image other content, and wait for the new version."""
        before = self.image(name)
        spec = replace(before.spec, **changes)
        updated = self.engine.images.update(image_id=before.id, spec=spec)
        self.wait_imported(name, number=updated.latest.number)
        return self.image(name)

    def wait_imported(self, name: str, *, number: int) -> None:
        """Wait until a version serves."""
        self.wait_for(
            lambda: (current := self.image(name).current) and current.number >= number,
            what=lambda: self.image(name),
        )
        assert self.image(name).latest.state is VersionState.READY

    def image(self, name: str = "web") -> MasterImage:
        """An image by name."""
        return self.engine.images.get(ref=Ref(name=name))

    def add_pool(self, name: str = "web", *, filled: bool = True, **changes: Any) -> ReplicaPool:
        """Declare a pool of image ``web``, and wait until ``min_ready`` are ready."""
        spec = PoolSpec(**{"name": name, "master_image": "web", "fabric": FABRIC, **changes})
        self.engine.pools.create(spec=spec, token=f"token-{name}")
        if filled:
            self.wait_ready(spec.min_ready, pool=name)
        return self.pool(name)

    def update_pool(self, name: str = "web", **changes: Any) -> ReplicaPool:
        """Change a pool in place."""
        before = self.pool(name)
        return self.engine.pools.update(pool_id=before.id, spec=replace(before.spec, **changes))

    def pool(self, name: str = "web") -> ReplicaPool:
        """A pool by name."""
        return self.engine.pools.get(ref=Ref(name=name))

    def count(self, state: VolumeState, *, pool: str = "web") -> int:
        """How many of a pool's volumes are in a state."""
        return self.pool(pool).counts.of(state)

    def wait_count(self, state: VolumeState, number: int, *, pool: str = "web") -> None:
        """Wait until so many of a pool's volumes are in a state."""
        self.wait_for(
            lambda: self.count(state, pool=pool) == number,
            what=lambda: f"{number} {state}; pool {pool} has {self.pool(pool)}",
        )

    def wait_ready(self, number: int, *, pool: str = "web") -> None:
        """Wait until so many replicas of the wanted version are ready, and nothing else moves."""
        self.wait_for(
            lambda: self._is_settled(pool) and self._ready(pool) == number,
            what=lambda: f"{number} ready; pool {pool} has {self.pool(pool)}",
        )

    def _ready(self, pool: str) -> int:
        counts = self.pool(pool).counts
        return counts.of(VolumeState.READY) - counts.stale

    def _is_settled(self, pool: str) -> bool:
        moving = (
            VolumeState.PLANNED,
            VolumeState.CLONING,
            VolumeState.SCRUBBING,
            VolumeState.DELETING,
        )
        counts = self.pool(pool).counts
        return counts.of(*moving) == 0 and counts.stale == 0

    def spec(self, name: str, *, pool: str = "web", **changes: Any) -> AttachmentSpec:
        """An attachment of an inline server with an initiator of its own."""
        server = ServerSpec(name=f"server-{name}", initiator=f"iqn.2026-01.test:{name}")
        named = changes.keys() & {"server", "server_selector", "inline_server"}
        fields: dict[str, Any] = {} if named else {"inline_server": server}
        return AttachmentSpec(name=name, pool=pool, **{**fields, **changes})

    def attach(self, name: str, *, pool: str = "web", **changes: Any) -> Attachment:
        """Ask for an attachment once, with a token of its name."""
        spec = self.spec(name, pool=pool, **changes)
        return self.engine.attachments.create(spec=spec, token=f"token-{name}")

    def attach_and_wait(self, name: str, *, pool: str = "web", **changes: Any) -> Attachment:
        """Ask until it holds a volume, and the grant is noted."""
        self.wait_for(
            lambda: self.attach(name, pool=pool, **changes).volume_id,
            what=lambda: f"{name} attached; pool has {self.pool(pool)}",
        )
        attached = self.attach(name, pool=pool, **changes)
        self.wait_for(
            lambda: self.volume(attached.volume_id).state is VolumeState.ALLOCATED,
            what=lambda: self.volume(attached.volume_id),
        )
        return attached

    def release(self, *attachments: Attachment, force: bool = False) -> None:
        """Release each."""
        for attachment in attachments:
            self.engine.attachments.delete(attachment_id=attachment.id, force=force)

    def volume(self, volume_id: str) -> Volume:
        """A volume by id."""
        return self.engine.volumes.get(ref=Ref(id=volume_id))

    def volumes(self, *, pool: str = "", state: str = "") -> list[Volume]:
        """Every volume, oldest first."""
        found, _token = self.engine.volumes.list(page=PageRequest(), pool=pool, state=state)
        return list(found)

    def runs(self, *, pool: str = "") -> list[ScrubRun]:
        """Every scrub run, oldest first."""
        found, _token = self.engine.scrub.list_runs(page=PageRequest(), pool=pool)
        return list(reversed(found))

    def wait_runs_over(self, number: int = 1) -> list[ScrubRun]:
        """Wait until so many scrub runs have begun and all are over."""
        self.wait_for(
            lambda: len(self.runs()) >= number and all(run.finished_at for run in self.runs()),
            what=self.runs,
        )
        return self.runs()

    def events(self, reason: str = "") -> list[Event]:
        """Every event (of one reason), oldest first."""
        found = self.engine.events.list(after_id=0, limit=_EVENTS)
        return [event for event in found if reason in ("", event.reason)]

    def wait_event(self, reason: str) -> Event:
        """Wait for an event of this reason; the newest."""
        self.wait_for(lambda: self.events(reason), what=lambda: (reason, self.events()))
        return self.events(reason)[-1]
