"""What an engine, its storages and its fabrics are at a moment, for people and programs to see."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class StorageFacts:
    """A configured storage as it is now; ``error`` is set when it does not answer."""

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
