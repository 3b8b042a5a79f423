"""An engine in this process, with an image and pools of it: what the controllers can do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from benchmarks.processes import end_tgtd
from benchmarks.rounds import wait_until
from clonepool.config import DriverSettings, Settings
from clonepool.domain.model import (
    AttachmentSpec,
    ImageSpec,
    PageRequest,
    PoolSpec,
    PortionSpec,
    Ref,
    ScrubPolicy,
    ServerSpec,
    SystemUser,
)
from clonepool.domain.states import SystemUserKind, VolumeState
from clonepool.engine import Engine

NODE = "bench"
USER = SystemUser(name="acme", kind=SystemUserKind.CUSTOMER)
IMAGE_BYTES = 1 << 20
# no scrub starts by itself
NEVER = 10**9
_TIMEOUT_S = 900.0


class Site:
    """One engine with its state folder; attachments are known by number."""

    def __init__(self, engine: Engine, *, folder: Path) -> None:
        self.engine = engine
        self.folder = folder
        self.state_dir = folder / "state"
        self._attachments: dict[tuple[str, int], str] = {}

    def add_image(self, name: str, *, size_bytes: int = IMAGE_BYTES) -> None:
        """Import an image with a sparse writable portion and a small read-only one."""
        writable = sparse_source(self.folder / f"{name}.rw", size_bytes=size_bytes)
        read_only = sparse_source(self.folder / f"{name}.ro", size_bytes=IMAGE_BYTES)
        spec = ImageSpec(
            name=name,
            system_user=USER,
            writable=PortionSpec(source=str(writable), format="raw"),
            read_only=PortionSpec(source=str(read_only), format="raw"),
        )
        self.engine.images.create(spec=spec, token=name)
        self._wait(lambda: self._is_imported(name), f"image {name} is imported")

    def _is_imported(self, name: str) -> bool:
        image = self.engine.images.get(ref=Ref(name=name))
        if image.latest.error:
            raise RuntimeError(image.latest.error)
        return image.current is not None

    def add_pool(self, name: str, *, image: str, ready: int, fabric: str = "iscsi") -> None:
        """Make a pool of exactly ``ready`` replicas and wait for them; none is made again."""
        spec = PoolSpec(
            name=name,
            master_image=image,
            fabric=fabric,
            min_ready=ready,
            max_replicas=max(ready, 1),
            scrub=ScrubPolicy(threshold=NEVER),
        )
        self.engine.pools.create(spec=spec, token=name)
        self.wait_ready(name, ready)

    def resize_pool(self, name: str, *, ready: int) -> None:
        """Change how many replicas it keeps; does not wait."""
        pool = self.engine.pools.get(ref=Ref(name=name))
        spec = replace(pool.spec, min_ready=ready, max_replicas=max(ready, 1))
        self.engine.pools.update(pool_id=pool.id, spec=spec)

    def wait_ready(self, pool: str, ready: int) -> None:
        """Wait until exactly so many replicas are ready."""
        self._wait(lambda: self._ready(pool) == ready, f"{ready} replicas of {pool} are ready")

    def _ready(self, name: str) -> int:
        pool = self.engine.pools.get(ref=Ref(name=name))
        if pool.stopped_reason:
            raise RuntimeError(pool.stopped_reason)
        return pool.counts.of(VolumeState.READY)

    def wait_idle(self) -> None:
        """Wait until no background work is left."""
        self._wait(lambda: not self._open_operations(), "the engine is idle")

    def _open_operations(self) -> int:
        found, _ = self.engine.operations.list(page=PageRequest(size=1), open_only=True)
        return len(found)

    def attach(self, number: int, *, pool: str) -> None:
        """Attach server ``number`` of its own to a replica; it must be ready."""
        name = f"{pool}-{number}"
        server = ServerSpec(name=name, initiator=f"iqn.2026-01.example:{name}")
        spec = AttachmentSpec(name=name, pool=pool, inline_server=server)
        made = self.engine.attachments.create(spec=spec, token=name)
        if not made.warm:
            raise RuntimeError(f"attachment {name} had to wait: the pool was empty")
        self._attachments[pool, number] = made.id

    def release(self, number: int, *, pool: str) -> None:
        """Release what ``attach`` attached."""
        attachment_id = self._attachments[pool, number]
        self.engine.attachments.delete(attachment_id=attachment_id, force=False)

    @staticmethod
    def _wait(condition: object, what: str) -> None:
        assert callable(condition)
        wait_until(condition, timeout_s=_TIMEOUT_S, what=what)


@contextmanager
def open_site(
    folder: Path,
    *,
    storage: Path | None = None,
    workers: int = 4,
    fabrics: Mapping[str, str] = MappingProxyType({"iscsi": "iscsi"}),
) -> Iterator[Site]:
    """An engine on ``folder``, started; ended at the end, with its tgtd.

    ``storage`` is where volumes lie, by default the state folder.
    """
    folder.mkdir(exist_ok=True)
    state_dir = folder / "state"
    settings = Settings(
        state_dir=state_dir,
        listen="",
        node=NODE,
        workers=workers,
        storages={"default": _storage(storage)},
        fabrics={
            name: DriverSettings(name=name, driver=driver) for name, driver in fabrics.items()
        },
    )
    engine = Engine.open(settings)
    try:
        engine.start()
        yield Site(engine, folder=folder)
    finally:
        engine.close()
        end_tgtd(state_dir)


def _storage(path: Path | None) -> DriverSettings:
    options = {} if path is None else {"path": str(path)}
    return DriverSettings(name="default", driver="file", options=options)


def sparse_source(path: Path, *, size_bytes: int) -> Path:
    """An image file that is all hole but for its first bytes."""
    with path.open("wb") as file:
        file.write(b"golden image")
        file.truncate(size_bytes)
    return path
