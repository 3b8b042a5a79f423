"""Whether clones and imports fit: asked before they are begun, so that no server runs dry."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from clonepool.backends.base import StorageBackend
from clonepool.controllers.context import Context
from clonepool.controllers.fullness import why_nothing_fits
from clonepool.domain import names
from clonepool.domain.capacity import Capacity, Owed, clones_are_full, way_out_of
from clonepool.domain.model import ImagePortion, Volume
from clonepool.domain.nodes import StorageAbilities
from clonepool.domain.states import CloneMode
from clonepool.errors import FailedPrecondition, NotFound, ResourceExhausted
from clonepool.store import volumes
from clonepool.units import format_size

# a look at every volume of a storage: not more often
_MEASURE_INTERVAL_S = 30.0
NO_SPACE = "NO_SPACE"


@dataclass(frozen=True, kw_only=True)
class Room:
    """What a storage has room for, with the figures for a message and what makes more room."""

    clones: int
    text: str
    way_out: str


def check_clone_mode(can: StorageAbilities, *, storage: str, mode: CloneMode) -> None:
    """Refuse thin clones where the storage has none, with the reason and the way out."""
    if mode is CloneMode.THIN and not can.thin_clones:
        text = (
            f"storage {storage} makes no thin clones ({can.thin_reason}); put it on a file system "
            "with reflinks (XFS, Btrfs), or ask for clone_mode full or auto"
        )
        raise FailedPrecondition(text, reason="NO_THIN_CLONES")


def capacity_of(context: Context, storage: str, *, apart_from: str = "") -> Capacity:
    """The figures of a storage now. ``apart_from``: the import that asks, which is not counted.

    What servers wrote since it was measured is counted twice, as used and as owed: safe, and
    ``measure`` mends it.
    """
    backend = context.drivers.backend(storage)
    thin_clones = backend.capabilities().thin_clones
    with context.state.read() as session:
        owed = volumes.owed(
            session,
            storage=storage,
            node=context.place_of(storage),
            auto_is_full=not thin_clones,
        )
    return _capacity(context, storage, owed, apart_from=apart_from)


def _capacity(context: Context, storage: str, owed: Owed, *, apart_from: str = "") -> Capacity:
    space = context.drivers.backend(storage).space()
    return Capacity(
        total_bytes=space.total_bytes,
        free_bytes=space.free_bytes,
        limits=context.drivers.limits(storage, total_bytes=space.total_bytes),
        owed=owed,
        incoming_bytes=context.incoming.on(storage, apart_from=apart_from),
    )


def room_for(
    context: Context, *, storage: str, mode: CloneMode, clone_bytes: int, wanted: int
) -> Room:
    """How many clones of ``clone_bytes`` fit now; exact only as far as ``wanted``.

    Volumes are measured before anything is refused.
    """
    room = _room(context, storage=storage, mode=mode, clone_bytes=clone_bytes)
    if room.clones < wanted and measure(context, storage):
        return _room(context, storage=storage, mode=mode, clone_bytes=clone_bytes)
    return room


def measure(context: Context, storage: str, *, older_than_s: float = _MEASURE_INTERVAL_S) -> bool:
    """Note what the storage's volumes hold by now; False when that was done a moment ago."""
    before = context.measured_at.get(storage)
    if before is not None and abs(context.now() - before) < older_than_s:
        return False
    context.measured_at[storage] = context.now()
    backend = context.drivers.backend(storage)
    with context.state.read() as session:
        growing = volumes.list_growing(session, storage=storage, node=context.place_of(storage))
    used: dict[tuple[str, int], int] = {}
    for volume_id, generation in growing:
        object_name = names.volume_object(volume_id=volume_id, generation=generation)
        # one that goes meanwhile promises nothing any more
        with contextlib.suppress(NotFound):
            used[volume_id, generation] = backend.own_bytes(name=object_name)
    context.state.write(lambda transaction: volumes.note_used(transaction, used_bytes=used))
    return True


def _room(context: Context, *, storage: str, mode: CloneMode, clone_bytes: int) -> Room:
    backend = context.drivers.backend(storage)
    full = clones_are_full(mode, thin_clones=backend.capabilities().thin_clones)
    capacity = capacity_of(context, storage)
    return Room(
        clones=capacity.clones_that_fit(clone_bytes=clone_bytes, full=full),
        text=(
            f"storage {storage} has {capacity.figures()}; a {'full' if full else 'thin'} clone is "
            f"of {format_size(clone_bytes)}{why_nothing_fits(backend)}"
        ),
        way_out=way_out_of(capacity, clone_bytes=clone_bytes, full=full, storage=storage),
    )


def check_clone(context: Context, *, volume: Volume, mode: CloneMode, image: ImagePortion) -> None:
    """Refuse to begin a clone that was planned while there was room, and has none by now.

    The clone itself is promised already; only what lies on the storage counts. One that is there
    already, from before a crash, takes nothing more. Raises ResourceExhausted.
    """
    storage = volume.storage
    backend = context.drivers.backend(storage)
    full = clones_are_full(mode, thin_clones=backend.capabilities().thin_clones)
    capacity = _capacity(context, storage, Owed())
    if capacity.left_bytes >= (image.size_bytes if full else 1) or _is_there(backend, volume):
        return
    text = (
        f"a {'full' if full else 'thin'} clone of {format_size(image.size_bytes)} is not begun: "
        f"storage {storage} has {format_size(capacity.free_bytes)} free, and keeps "
        f"{format_size(capacity.limits.reserve_bytes)} in reserve; scrub released volumes "
        "(clonepool scrub run), free space or add some: it goes on by itself"
    )
    raise ResourceExhausted(text, reason=NO_SPACE)


def _is_there(backend: StorageBackend, volume: Volume) -> bool:
    try:
        backend.stat(name=volume.object_name)
    except NotFound:
        return False
    return True


@contextlib.contextmanager
def incoming(context: Context, *, storage: str, key: str) -> Iterator[Admission]:
    """The length of an import: what it says it will write is promised to nobody else."""
    try:
        yield Admission(context, storage=storage, key=key)
    finally:
        context.incoming.forget(key)


class Admission:
    """Asked by an import before it writes: how much it is about to, from here on."""

    def __init__(self, context: Context, *, storage: str, key: str) -> None:
        self._context = context
        self._storage = storage
        self._key = key

    def __call__(self, needed_bytes: int) -> None:
        """Set the bytes aside. Raises ResourceExhausted where that would break a promise."""
        context, storage = self._context, self._storage
        with context.spaces.of(storage):
            capacity = capacity_of(context, storage, apart_from=self._key)
            if needed_bytes > capacity.writable_bytes and measure(context, storage):
                capacity = capacity_of(context, storage, apart_from=self._key)
            if needed_bytes <= capacity.writable_bytes:
                context.incoming.note(self._key, storage=storage, needed_bytes=needed_bytes)
                return
        writable_bytes = max(0, capacity.writable_bytes)
        raise ResourceExhausted(
            f"the import needs {format_size(needed_bytes)}, and {format_size(writable_bytes)} can "
            f"be had: storage {storage} has {capacity.figures()}; scrub released volumes "
            "(clonepool scrub run), delete images, add space or lower what pools keep",
            reason=NO_SPACE,
            metadata={"needed_bytes": str(needed_bytes), "writable_bytes": str(writable_bytes)},
        )
