"""What an engine, its storages and its fabrics are at a moment, for people and programs to see."""

from __future__ import annotations

from dataclasses import dataclass, replace

from clonepool.domain.capacity import Capacity


@dataclass(frozen=True, kw_only=True)
class StorageFacts:
    """A configured storage as it is now; ``error`` is set when it does not answer.

    ``overcommit`` None: what it may promise has no limit.
    """

    name: str
    driver: str
    thin_clones: bool = False
    thin_reason: str = ""
    scrub_methods: tuple[str, ...] = ()
    erasure_note: str = ""
    total_bytes: int = 0
    free_bytes: int = 0
    reserve_bytes: int = 0
    error: str = ""
    purges: tuple[str, ...] = ()
    overcommit: float | None = None
    warn_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class FabricFacts:
    """A configured fabric as it is now; ``error`` is set when it is away."""

    name: str
    driver: str
    chap: bool = False
    read_only_enforced_by: str = ""
    sees_sessions: bool = False
    notes: str = ""
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class EngineFacts:
    """What this engine is, and how much it holds."""

    version: str
    node: str
    engine_id: str
    started_at: float
    storages: tuple[StorageFacts, ...]
    fabrics: tuple[FabricFacts, ...]
    import_roots: tuple[str, ...]
    images: int
    pools: int
    servers: int
    attachments: int
    volumes: int


@dataclass(frozen=True, kw_only=True)
class StorageCapacity:
    """What a storage holds and may promise; ``capacity`` None where it does not answer."""

    name: str
    driver: str
    capacity: Capacity | None = None
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class PoolCapacity:
    """How many more replicas a pool could have, as if it were alone on its storage.

    ``room`` is what max_replicas leaves, ``fits`` what the storage has room for, UNLIMITED where
    nothing limits it. ``kind`` is thin, full, slot, or "" while nothing can be said.
    """

    name: str
    room: int
    short_of_space: str
    storage: str = ""
    kind: str = ""
    clone_bytes: int = 0
    fits: int = 0

    def on(self, storage: str, *, kind: str, clone_bytes: int, fits: int) -> PoolCapacity:
        """The same, with what its storage says."""
        return replace(self, storage=storage, kind=kind, clone_bytes=clone_bytes, fits=fits)

    @property
    def can_make(self) -> int:
        """What both leave."""
        return min(self.room, self.fits)


@dataclass(frozen=True, kw_only=True)
class CapacityFacts:
    """What fits now."""

    storages: tuple[StorageCapacity, ...]
    pools: tuple[PoolCapacity, ...]
