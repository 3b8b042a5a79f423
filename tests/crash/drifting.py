"""A world in which storage and fabric are changed behind the engine's back, and which notices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from clonepool.backends.memory import CHUNK_BYTES, MemoryObject
from clonepool.domain.states import AfterScrub, ScrubMethod, VolumeState
from clonepool.fabrics.base import ExportSpec
from clonepool.fabrics.memory import MemoryFabric
from clonepool.testing.engines import FABRIC
from tests.crash.rows import Row
from tests.crash.world import World

_SPOILT = b"spoilt".ljust(CHUNK_BYTES, b".")


class DriftingWorld(World):
    """What somebody with a shell does to storage and fabric, and what an operator does after."""

    def compare(self) -> bool:
        """The engine compares what is there with its rows; False when it died of it."""
        done = self.act(lambda: self.life.compare() or True) is True
        exports = self.life.engine._exports
        # a fabric that was just restarted, or is just come to know, is looked at next time
        if done and exports.is_settled(FABRIC, self.machine.fabric):
            # what is being granted, or was when an engine died, is looked at once it is allocated
            self.targets_lost = any(
                volume.object_name not in self.machine.fabric._exports
                for volume in self.rows().volumes
                if volume.state == VolumeState.ATTACHING
            )
        return done

    def compare_to_the_end(self) -> None:
        """Until one comparison was not cut off."""
        self.watch()
        while not self.compare():
            pass

    def add_stray(self) -> str:
        """Put an object there that no row accounts for, and export it; its name."""
        name = f"vol-{uuid4()}-g1"
        self.strays[name] = 0.0
        self.machine.storage._objects[name] = MemoryObject(size_bytes=CHUNK_BYTES, read_only=False)
        with self._unseen():
            MemoryFabric.export(self.machine.fabric, ExportSpec(target=name, luns=()))
        return name

    def lose_target(self, number: int = 0) -> None:
        """Remove one export; its server is cut off."""
        targets = sorted(self.machine.fabric._exports)
        if targets:
            self.targets_lost = True
            with self._unseen():
                MemoryFabric.unexport(self.machine.fabric, targets[number % len(targets)])

    @contextmanager
    def _unseen(self) -> Iterator[None]:
        """What others do to the fabric is no instant of the engine's."""
        fault, self.machine.fabric.fault = self.machine.fabric.fault, lambda _step: None
        try:
            yield
        finally:
            self.machine.fabric.fault = fault

    def lose_object(self, volume: Row) -> None:
        """Remove a volume's object."""
        self.removed.add(volume.object_name)
        self.machine.storage._objects.pop(volume.object_name)

    def spoil_next(self, method: ScrubMethod) -> None:
        """Have the storage say that it erased, or cloned, and leave a chunk as it must not be."""
        real = self.machine.storage.on_step
        at = "clone.done" if method is ScrubMethod.REFORMAT else "erase.done"

        def step(name: str, object_name: str) -> None:
            if name == at:
                self.machine.storage.on_step = real
                self.machine.storage._objects[object_name].chunks[1] = _SPOILT
            real(name, object_name)

        self.machine.storage.on_step = step

    def volumes(self, state: VolumeState) -> list[Row]:
        """Those in a state, that are on the storage."""
        return [each for each in self.rows().volumes if each.state == state and not each.slot]

    def mend_faulty(self, after: AfterScrub = AfterScrub.RECYCLE) -> None:
        """An operator has each faulty volume scrubbed again."""
        for volume in self.volumes(VolumeState.FAULTY):
            scrub = self.life.engine.scrub
            self.act(lambda: scrub.start_one(volume_id=volume.id, after=after))  # noqa: B023


@contextmanager
def new_world() -> Iterator[DriftingWorld]:
    """A world that is closed in the end."""
    world = DriftingWorld()
    try:
        yield world
    finally:
        world.close()
