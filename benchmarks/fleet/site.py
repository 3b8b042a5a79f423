"""A fleet's engine, without threads: images on many storages, pools, rows of servers at work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.bulk import add_rows
from clonepool.backends.base import Space, StorageBackend
from clonepool.backends.memory import MemoryBackend
from clonepool.config import DriverSettings, Settings
from clonepool.domain.model import ImageSpec, PoolSpec, PortionSpec, Ref, ScrubPolicy
from clonepool.domain.states import VolumeState
from clonepool.fabrics.memory import MemoryFabric
from clonepool.testing.engines import FABRIC
from clonepool.testing.stepped import Machine, SteppedEngine
from clonepool.units import format_size

_IMAGE_BYTES: Final = 64 * 1024
_STORAGE_BYTES: Final = 2**50
_NODE: Final = "node1"


@dataclass(frozen=True, kw_only=True)
class Size:
    """How large a fleet is. ``stock`` is each pool's ``min_ready``, ``threshold`` its scrub's."""

    volumes: int
    nodes: int
    workers: int
    storages: int
    pools: int
    stock: int
    threshold: int

    @property
    def at_work(self) -> int:
        """Volumes of each pool that servers have all day."""
        return max(0, self.volumes // self.pools - self.stock)


class _Storage(MemoryBackend):
    """As large as need be: to count what each object holds is no part of the question."""

    def space(self) -> Space:
        return Space(total_bytes=_STORAGE_BYTES, free_bytes=_STORAGE_BYTES)


class FleetMachine(Machine):
    """Many storages; the workers of all nodes."""

    def __init__(self, size: Size) -> None:
        super().__init__(storage=_Storage(), fabric=MemoryFabric())
        self._size = size
        self.storages = {f"storage-{number}": _Storage() for number in range(size.storages)}

    def settings(self, *, node: str = _NODE) -> Settings:
        """Of the one engine that stands for all nodes: any of them does any work."""
        workers = self._size.nodes * self._size.workers
        return Settings(
            state_dir=self.state_dir,
            listen="",
            node=node,
            storages={name: _given(name) for name in self.storages},
            fabrics={FABRIC: DriverSettings(name=FABRIC, driver="memory")},
            workers=workers,
            scrub_workers=workers // 2,
        )

    def backends(self) -> Mapping[str, StorageBackend]:
        """Every storage, open."""
        return self.storages


def _given(name: str) -> DriverSettings:
    return DriverSettings(name=name, driver="memory", options={"reserve": "0%"})


def pool_name(number: int) -> str:
    """A pool, as the demand numbers them."""
    return f"pool-{number}"


class Site:
    """A fleet's engine and what was declared on it."""

    def __init__(self, size: Size) -> None:
        self.machine = FleetMachine(size)
        self.life = SteppedEngine(self.machine)
        self._size = size
        self.storage_of: dict[str, str] = {}
        try:
            self.life.start()
            self._declare()
        except BaseException:
            self.close()
            raise

    def _declare(self) -> None:
        source = self.machine.folder / "golden"
        source.write_bytes(b"golden" * (_IMAGE_BYTES // 6) + b"\0" * (_IMAGE_BYTES % 6))
        for name in self.machine.storages:
            self._add_image(name, source)
        for number in range(self._size.pools):
            self._add_pool(pool_name(number), f"storage-{number % self._size.storages}")

    def _add_image(self, storage: str, source: Path) -> None:
        portion = PortionSpec(source=str(source), format="raw")
        spec = ImageSpec(name=f"golden-{storage}", writable=portion, storage=storage)
        made = self.life.engine.images.create(spec=spec, token=storage)
        while self.life.work():
            pass
        if (image := self.life.engine.images.get(ref=Ref(id=made.id))).current is None:
            raise RuntimeError(f"the image of {format_size(_IMAGE_BYTES)} failed: {image.latest}")

    def _add_pool(self, name: str, storage: str) -> None:
        spec = PoolSpec(
            name=name,
            master_image=f"golden-{storage}",
            fabric=FABRIC,
            min_ready=self._size.stock,
            max_replicas=self._size.at_work + 4 * self._size.stock,
            scrub=ScrubPolicy(threshold=self._size.threshold),
        )
        self.life.engine.pools.create(spec=spec, token=name)
        self.storage_of[name] = storage
        self._add_at_work(name)

    def _add_at_work(self, pool: str) -> None:
        """Rows only: what servers have had since yesterday, this day's work never touches."""
        rows = partial(
            add_rows, pool=pool, count=self._size.at_work, state=VolumeState.ALLOCATED, node=_NODE
        )
        if self._size.at_work:
            self.life.engine._state.write(rows)

    def close(self) -> None:
        """Forget everything."""
        self.life.abandon()
        self.machine.remove()
