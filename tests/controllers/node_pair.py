"""Two nodes on one PostgreSQL in this process, and how they are asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from clonepool.backends.memory import MemoryBackend
from clonepool.domain.model import Attachment, ImageSpec, PageRequest, PortionSpec, Ref
from clonepool.domain.states import AttachmentState
from clonepool.domain.work import Operation
from clonepool.errors import NotFound, Unavailable
from clonepool.testing.engines import USER, EngineRig

SHARED = "ceph"
LEASE_OVER_S = 31.0


class Pair:
    """Two nodes: ``here`` has the storage ``default``, ``there`` ``far``, and both ``ceph``."""

    def __init__(self, folder: Path, *, database: str) -> None:
        shared = MemoryBackend(hostless=True)
        self.here = EngineRig(folder / "one", database=database)
        self.there = EngineRig(folder / "two", node="node2", beside=self.here)
        self.there.add_storage("far", MemoryBackend())
        for rig in (self.here, self.there):
            rig.folder.mkdir()
            rig.add_storage(SHARED, shared)
        self.shared = shared

    def see(self) -> None:
        """Have each node look at the other now."""
        for rig in (self.here, self.there):
            if rig._engine is not None:
                rig.engine.nodes.look()

    def fall_silent(self, rig: EngineRig) -> None:
        """End a node, and let its lease run out."""
        rig.close()
        self.here.clock.advance(LEASE_OVER_S)
        other = self.there if rig is self.here else self.here
        other.wake()
        other.wait_for(
            lambda: rig.settings.node in other.engine._worker._context.nodes.out,
            what="the silence to be seen",
        )


def asked(rig: EngineRig, act: Callable[[], Any]) -> Any:
    """Ask again for as long as another node was asked, as every client does."""
    found: list[Any] = []

    def once() -> bool:
        try:
            found[:] = [act()]
        except Unavailable as error:
            if error.reason != "NODE_ASKED":
                raise
            return False
        return True

    rig.wait_for(once, what="the other node to answer")
    return found[0]


def attach_from(rig: EngineRig, name: str, **changes: Any) -> Attachment:
    """Ask until it is attached."""
    rig.wait_for(
        lambda: rig.attach(name, **changes).state is AttachmentState.ATTACHED,
        what=lambda: f"{name} attached; pool has {rig.pool()}",
    )
    return rig.attach(name, **changes)


def is_gone(rig: EngineRig, attached: Attachment) -> bool:
    try:
        rig.engine.attachments.get(ref=Ref(id=attached.id))
    except NotFound:
        return True
    return False


def image_spec(portion: PortionSpec, *, storage: str = SHARED) -> ImageSpec:
    return ImageSpec(name="web", system_user=USER, writable=portion, storage=storage)


def open_work(rig: EngineRig) -> list[Operation]:
    found, _token = rig.engine.operations.list(page=PageRequest(), open_only=True)
    return list(found)
