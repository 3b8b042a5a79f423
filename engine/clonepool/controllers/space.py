"""Whether clones fit: free space less the reserve less what full clones may still grow by."""

from __future__ import annotations

from dataclasses import dataclass

from clonepool.controllers.context import Context
from clonepool.domain.policy import clones_that_fit
from clonepool.domain.states import CloneMode
from clonepool.errors import FailedPrecondition
from clonepool.store import volumes
from clonepool.units import format_size


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


def is_full(context: Context, *, storage: str, mode: CloneMode) -> bool:
    """Whether clones of this mode are full copies on this storage."""
    thin = context.drivers.backend(storage).capabilities().thin_clones
    return mode is CloneMode.FULL or not thin


def room_for(context: Context, *, storage: str, mode: CloneMode, clone_bytes: int) -> Room:
    """How many clones of ``clone_bytes`` fit now."""
    space = context.drivers.backend(storage).space()
    reserve_bytes = context.drivers.reserve_bytes(storage)
    with context.state.read() as session:
        owed_bytes = volumes.owed_bytes(
            session,
            storage=storage,
            auto_is_full=is_full(context, storage=storage, mode=CloneMode.AUTO),
        )
    full = is_full(context, storage=storage, mode=mode)
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
    )
    return Room(clones=clones, text=text)
