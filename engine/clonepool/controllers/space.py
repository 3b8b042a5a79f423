"""Whether clones fit: free space less the reserve less what full clones may still grow by."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from clonepool.controllers.context import Context
from clonepool.controllers.fullness import why_nothing_fits
from clonepool.domain import names
from clonepool.domain.policy import clones_are_full, clones_that_fit
from clonepool.domain.states import CloneMode
from clonepool.errors import FailedPrecondition, NotFound
from clonepool.store import volumes
from clonepool.units import format_size

# a look at every full clone of a storage: not more often
_MEASURE_INTERVAL_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Room:
    """What a storage has room for, with the figures for a message."""

    clones: int
    text: str


def check_clone_mode(context: Context, *, storage: str, mode: CloneMode) -> None:
    """Refuse thin clones where the storage has none, with the reason and the way out."""
    can = context.drivers.backend(storage).capabilities()
    if mode is CloneMode.THIN and not can.thin_clones:
        text = (
            f"storage {storage} makes no thin clones ({can.thin_reason}); put it on a file system "
            "with reflinks (XFS, Btrfs), or ask for clone_mode full or auto"
        )
        raise FailedPrecondition(text, reason="NO_THIN_CLONES")


def room_for(
    context: Context, *, storage: str, mode: CloneMode, clone_bytes: int, wanted: int
) -> Room:
    """How many clones of ``clone_bytes`` fit now; exact only as far as ``wanted``.

    What servers wrote into full clones is promised and used at once until it is measured, so
    that is done before anything is refused.
    """
    room = _room(context, storage=storage, mode=mode, clone_bytes=clone_bytes)
    if room.clones < wanted and _measure(context, storage=storage):
        return _room(context, storage=storage, mode=mode, clone_bytes=clone_bytes)
    return room


def _measure(context: Context, *, storage: str) -> bool:
    """Note what the storage's full clones use by now; False when that was done a moment ago."""
    before = context.measured_at.get(storage)
    if before is not None and abs(context.now() - before) < _MEASURE_INTERVAL_S:
        return False
    context.measured_at[storage] = context.now()
    backend = context.drivers.backend(storage)
    with context.state.read() as session:
        growing = volumes.list_growing(session, storage=storage)
    used: dict[tuple[str, int], int] = {}
    for volume_id, generation in growing:
        object_name = names.volume_object(volume_id=volume_id, generation=generation)
        # one that goes meanwhile promises nothing any more
        with contextlib.suppress(NotFound):
            used[volume_id, generation] = backend.stat(name=object_name).used_bytes
    context.state.write(lambda transaction: volumes.note_used(transaction, used_bytes=used))
    return True


def _room(context: Context, *, storage: str, mode: CloneMode, clone_bytes: int) -> Room:
    backend = context.drivers.backend(storage)
    space, thin_clones = backend.space(), backend.capabilities().thin_clones
    reserve_bytes = context.drivers.reserve_bytes(storage)
    with context.state.read() as session:
        owed_bytes = volumes.owed_bytes(session, storage=storage, auto_is_full=not thin_clones)
    full = clones_are_full(mode, thin_clones=thin_clones)
    clones = clones_that_fit(
        clone_bytes=clone_bytes if full else 0,
        free_bytes=space.free_bytes,
        reserve_bytes=reserve_bytes,
        owed_bytes=owed_bytes,
    )
    text = (
        f"storage {storage} has {format_size(space.free_bytes)} free, "
        f"{format_size(reserve_bytes)} of it in reserve and {format_size(owed_bytes)} promised to "
        f"full clones; a {'full' if full else 'thin'} clone is of {format_size(clone_bytes)}"
        f"{why_nothing_fits(backend)}"
    )
    return Room(clones=clones, text=text)
