"""What is compared with what: rows, objects on a storage and targets on a fabric, as decisions.

A row counts only when it was the same before and after the listing, so what was worked on
meanwhile is never called drift, whatever the clock says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from clonepool.domain.names import volume_object
from clonepool.domain.states import VolumeState

_UUID: Final = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_OURS: Final = re.compile(rf"vol-{_UUID}-g[1-9]\d*|img-{_UUID}-(?:ro|rw)")
# a storage with more strays than this, and more strays than objects with a row, is not swept
_FEW: Final = 3

# the states in which nobody works on a volume and its object is there, whole
RESTING: Final = frozenset({VolumeState.READY, VolumeState.ALLOCATED, VolumeState.RELEASED})
# of these, those whose bytes nobody uses at the moment: the volume is taken out of service
OUT_OF_SERVICE: Final = frozenset({VolumeState.READY, VolumeState.RELEASED})
# the states in which a target is there; in cloning it is made just before ready is written
EXPORTED: Final = frozenset({VolumeState.READY, VolumeState.ALLOCATED})
# the states in which no target may be there, and nobody is about to make or remove one
NEVER_EXPORTED: Final = frozenset({VolumeState.RELEASED, VolumeState.FAULTY})


@dataclass(frozen=True, kw_only=True)
class VolumeRow:
    """A volume as far as it is compared; two are equal while nobody worked on it in between."""

    id: str
    generation: int
    state: VolumeState
    storage: str
    fabric: str
    version_id: str
    name: str  # of its object and of its target
    slot: bool
    size_bytes: int
    changed_at: float
    error: str


@dataclass(frozen=True, kw_only=True)
class PortionRow:
    """An image version's portion; ``is_resting`` when the version serves and has this portion."""

    version_id: str
    image_id: str
    image: str
    number: int
    name: str
    size_bytes: int
    digest: str
    is_resting: bool
    error: str


@dataclass(frozen=True, kw_only=True)
class StorageRows:
    """Everything that rows say of one storage."""

    volumes: frozenset[VolumeRow]
    portions: frozenset[PortionRow]

    def names(self) -> frozenset[str]:
        """Every object that a row accounts for, there or not."""
        volumes = {row.name for row in self.volumes if not row.slot}
        # what takes a scrubbed one's place is made, and read back, before its row says so
        volumes |= {
            volume_object(volume_id=row.id, generation=row.generation + 1)
            for row in self.volumes
            if row.state is VolumeState.SCRUBBING
        }
        return frozenset(volumes | {row.name for row in self.portions})

    def resting_names(self) -> frozenset[str]:
        """Every object that is there, as far as rows know, and that nobody works on."""
        volumes = {row for row in self.volumes if row.state in RESTING and not row.slot}
        portions = {row for row in self.portions if row.is_resting}
        return frozenset(row.name for row in volumes | portions if not is_told(row))


@dataclass(frozen=True, kw_only=True)
class StorageDrift:
    """Where a storage differs from its rows: for each row in doubt the size found, None: absent.

    ``mended`` are rows that an earlier look found in doubt and whose object is as it should be.
    """

    strays: frozenset[str]
    volumes: Mapping[VolumeRow, int | None]
    portions: Mapping[PortionRow, int | None]
    mended_volumes: frozenset[VolumeRow]
    mended_portions: frozenset[PortionRow]


@dataclass(frozen=True, kw_only=True)
class Unwritten:
    """The rows whose object holds what was made of it, and nothing else: nobody may write to it."""

    replicas: frozenset[VolumeRow]
    portions: frozenset[PortionRow]


@dataclass(frozen=True, kw_only=True)
class FabricDrift:
    """Where a fabric differs from its rows: targets that are to be made, and to be removed."""

    lost: frozenset[str]
    strays: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Orphan:
    """An object of ours that no row accounts for, in quarantine.

    ``waited_s`` is how long engines have watched it so far; ``held`` says why it is not deleted
    when its time is over ("" when it is).
    """

    storage: str
    name: str
    size_bytes: int
    used_bytes: int
    first_seen_at: float
    seen_at: float
    waited_s: float
    held: str
    node: str = ""  # whose storage it is on, "" on one that every node reaches


def is_ours(name: str) -> bool:
    """Whether a name is one that the engine gives; nothing else is ever touched."""
    return _OURS.fullmatch(name) is not None


def compare_storage(
    sizes: Mapping[str, int], *, before: StorageRows, after: StorageRows
) -> StorageDrift:
    """Hold a listing (sizes by name) against the rows of before and after it."""
    known = before.names() | after.names()
    resting = {row for row in before.volumes & after.volumes if row.state in RESTING}
    volumes = {row: sizes.get(row.name) for row in resting if not row.slot}
    portions = {
        row: sizes.get(row.name) for row in before.portions & after.portions if row.is_resting
    }
    in_doubt = {row: found for row, found in portions.items() if found != row.size_bytes}
    versions_in_doubt = {row.version_id for row in in_doubt}
    return StorageDrift(
        strays=frozenset(name for name in sizes.keys() - known if is_ours(name)),
        volumes={row: found for row, found in volumes.items() if found != row.size_bytes},
        portions=in_doubt,
        mended_volumes=frozenset(
            row for row, found in volumes.items() if found == row.size_bytes and is_told(row)
        ),
        mended_portions=frozenset(
            row
            for row in portions.keys() - in_doubt.keys()
            if row.version_id not in versions_in_doubt and is_told(row)
        ),
    )


def unwritten(sizes: Mapping[str, int], *, before: StorageRows, after: StorageRows) -> Unwritten:
    """The rows of before and after a listing whose object is there, whole, and may not change."""
    return Unwritten(
        replicas=frozenset(
            row
            for row in before.volumes & after.volumes
            if row.state is VolumeState.READY
            and not row.slot
            and sizes.get(row.name) == row.size_bytes
        ),
        portions=frozenset(
            row
            for row in before.portions & after.portions
            if row.is_resting and sizes.get(row.name) == row.size_bytes and not is_told(row)
        ),
    )


def altered(row: VolumeRow | PortionRow, *, storage: str) -> str:
    """What is wrong with a row whose object has other bytes than were made."""
    wanted = "its image" if isinstance(row, VolumeRow) else "what was imported"
    return (
        f"the bytes of {row.name} on storage {storage} are not those of {wanted}: they were "
        "changed behind the engine's back"
    )


def made_of_altered(row: VolumeRow) -> str:
    """What is wrong with a replica that was cloned from an image whose bytes were changed."""
    return f"{row.name} was made after the bytes of its image were changed on storage {row.storage}"


def doubt(row: VolumeRow | PortionRow, *, storage: str, found_bytes: int | None) -> str:
    """What is wrong with a row's object, as it is kept in the row."""
    if found_bytes is None:
        return f"object {row.name} is not on storage {storage} any more"
    return (
        f"object {row.name} on storage {storage} has {found_bytes} bytes, not {row.size_bytes}: "
        "it was changed behind the engine's back"
    )


def served_rows(before: frozenset[VolumeRow], after: frozenset[VolumeRow]) -> frozenset[VolumeRow]:
    """The volumes with an object of their own whose target is there, and nobody works on."""
    return frozenset(row for row in before & after if row.state in EXPORTED and not row.slot)


def replaced(row: VolumeRow) -> str:
    """What is wrong with a volume whose target serves another file than lies at its place."""
    return (
        f"target {row.name} serves a file that is not at its place on storage {row.storage} any "
        "more: another one was put there behind the engine's back"
    )


def put_back(row: VolumeRow) -> str:
    """What is still wrong with a volume whose file was put back while its server is logged in."""
    return (
        f"object {row.name} is there again, but its server is logged in and still reaches the "
        "file that was removed"
    )


def is_told_replaced(row: VolumeRow) -> bool:
    """Whether an earlier look found that another file was put in the place of a volume's."""
    return row.error == replaced(row)


def is_told(row: VolumeRow | PortionRow) -> bool:
    """Whether an earlier look found a row's object absent or of another size."""
    return f"object {row.name} " in row.error


def compare_fabric(
    targets: frozenset[str], *, before: frozenset[VolumeRow], after: frozenset[VolumeRow]
) -> FabricDrift:
    """Hold a fabric's targets against the rows of before and after they were listed."""
    resting = before & after
    accounted = {row.name for row in before | after} - {
        row.name for row in resting if row.state in NEVER_EXPORTED
    }
    return FabricDrift(
        lost=frozenset(row.name for row in resting if row.state in EXPORTED) - targets,
        strays=frozenset(name for name in targets - accounted if is_ours(name)),
    )


def waited_s(*, before_s: float, last_look_at: float, now: float, interval_s: float) -> float:
    """How long an orphan was watched by now; a clock that jumps, or a pause, adds little."""
    return before_s + min(max(now - last_look_at, 0.0), 2 * interval_s)


def why_held(*, strays: int, accounted: int) -> str:
    """Why none of a storage's strays is deleted, "" when they may be.

    An engine with a fresh or an older database would else delete what another one keeps.
    """
    if strays <= _FEW or strays <= accounted:
        return ""
    return (
        f"{strays} objects have no row and only {accounted} have one: is this another engine's "
        "storage, or the database an old copy?"
    )


def list_names(names: Iterable[str], *, most: int = 5) -> str:
    """A few names for a message, and how many more there are."""
    listed = sorted(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more
