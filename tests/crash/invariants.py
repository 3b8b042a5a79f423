"""The design's invariants, as they must hold at every instant: each is asked "and if it died now?".

Looked at from outside: the durable rows, the storage, the fabric, and what callers were told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from clonepool.backends.memory import MemoryBackend
from clonepool.domain.states import CAPACITY_STATES, AfterScrub, VolumeState
from clonepool.fabrics.memory import MemoryFabric
from tests.crash.rows import Row, Rows
from tests.crash.users import IMAGE_BYTES, Known, Told, golden, marks_in, owner_of, used_by

V = VolumeState
_HELD = {V.ATTACHING, V.ALLOCATED, V.DETACHING}
# states in which the last user's bytes are still there, or in work
_UNSCRUBBED = _HELD | {V.RELEASED, V.SCRUBBING, V.FAULTY}
_HAS_OBJECT = _HELD | {V.READY, V.RELEASED}
_HAS_EXPORT = {V.READY, V.ATTACHING, V.ALLOCATED}
_AHEAD_S = 60.0
# runs of a volume that could not be scrubbed before, and of what nothing can come back from
_WITHOUT_WINDOW = {"deletion", "retry", "destroy"}
_MAY_HAVE_EXPORT = _HAS_EXPORT | {V.CLONING, V.DETACHING, V.DELETING}


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Everything at one instant."""

    rows: Rows
    storage: MemoryBackend
    fabric: MemoryFabric
    told: Told
    # the fabric lost its exports, and the engine has not had the time to notice
    exports_lost: bool
    # object names that a worker whose lease is over may have made, and left
    may_be_left: frozenset[str] = frozenset()
    exports_may_be_left: bool = False
    # objects that somebody removed behind the engine's back, and those that somebody put there,
    # with how long the engine may have watched these
    removed: frozenset[str] = frozenset()
    strays: Mapping[str, float] = field(default_factory=dict)
    orphan_grace_s: float = 3600.0
    now: float = 0.0

    @property
    def by_object(self) -> Mapping[str, Row]:
        """The volumes by the names of their objects and targets."""
        return {volume.object_name: volume for volume in self.rows.volumes}

    def may_be_remade(self, target: str) -> bool:
        """While lost exports are made anew, one may be made for a volume that went meanwhile.

        It admits nobody, and goes before the watcher is done.
        """
        export = self.fabric._exports[target]
        return self.exports_lost and export.access is None and not export.sessions


def problems(seen: Seen) -> list[str]:
    """Every invariant that does not hold, in words."""
    return [text for check in CHECKS for text in check(seen)]


def one_attachment_each(seen: Seen) -> Iterator[str]:
    """1. A volume belongs to at most one attachment, and both say so."""
    holders = Counter(each.volume_id for each in seen.rows.attachments if each.volume_id)
    for volume_id, count in holders.items():
        if count > 1:
            yield f"volume {volume_id} has {count} attachments"
    held = {
        (each.volume_id, each.volume_generation): each.id
        for each in seen.rows.attachments
        if each.volume_id
    }
    rows = {
        (each.id, each.generation): each.attachment_id
        for each in seen.rows.volumes
        if each.attachment_id or each.state in _HELD
    }
    if held != rows:
        yield f"attachments hold {held}, volumes are held by {rows}"


def one_user_a_server(seen: Seen) -> Iterator[str]:
    """1. A server has attachments of one system user only, and is free when it has none."""
    users: dict[str, set[str]] = {server.id: set() for server in seen.rows.servers}
    for each in seen.rows.attachments:
        users[each.server_id].add(each.user_name)
    for server in seen.rows.servers:
        expected = {server.user_name} if server.user_name else set()
        if users[server.id] != expected:
            yield f"server {server.name} serves {expected}, its attachments are of {users}"


def no_byte_crosses(seen: Seen) -> Iterator[str]:
    """2. What can be handed out, or is, holds no mark but that of who has it."""
    names = {each.id: owner_of(each.name, each.user_name) for each in seen.rows.attachments}
    for object_name, kept in seen.storage._objects.items():
        volume = seen.by_object.get(object_name)
        marks = set(marks_in(kept))
        if volume is None or volume.state in {V.CLONING, V.READY, V.PLANNED}:
            allowed: set[str] = set()
        elif volume.state in _HELD:
            allowed = {names.get(volume.attachment_id, "")}
        else:
            # its last user's bytes, until they are scrubbed
            continue
        if marks - allowed:
            yield f"{volume.state if volume else 'no'} volume {object_name} holds marks of {marks}"


def own_bytes_are_kept(seen: Seen) -> Iterator[str]:
    """2. Until a scrub takes it, a volume holds what its own user wrote, and so comes back."""
    numbers = {version.id: version.number for version in seen.rows.versions}
    for use in seen.told.uses.values():
        if use.wrote is None:
            continue
        volume_id, generation, owner = use.wrote
        volume = seen.rows.volume(volume_id)
        if volume is None or volume.generation != generation:
            continue
        kept = seen.storage._find(volume.object_name)
        if kept is None or volume.state not in _HELD | {V.RELEASED}:
            continue
        if kept.read_at(0, IMAGE_BYTES) != used_by(owner, numbers[volume.image_version_id]):
            yield f"{volume} does not hold what {owner} wrote"


def ready_is_as_its_image(seen: Seen) -> Iterator[str]:
    """2. What can be handed out is its version of the image, to the last byte."""
    numbers = {version.id: version.number for version in seen.rows.versions}
    for volume in seen.rows.volumes:
        kept = seen.storage._find(volume.object_name)
        if volume.state != V.READY or kept is None:
            continue
        if kept.read_at(0, IMAGE_BYTES) != golden(numbers[volume.image_version_id]):
            yield f"{volume} is not as version {numbers[volume.image_version_id]}"


def scrubbed_before_reuse(seen: Seen) -> Iterator[str]:
    """2. A generation that somebody had is recorded when it is scrubbed, and only then."""
    recorded = {(record.volume_id, record.generation) for record in seen.rows.records}
    for volume_id, generation in recorded:
        # its object went before the record was written
        name = f"vol-{volume_id}-g{generation}"
        if seen.storage._find(name) is not None and name not in seen.may_be_left:
            yield f"{name} has a scrub record, and still is on the storage"
    held = {(each.id, each.generation) for each in seen.rows.volumes if each.state in _UNSCRUBBED}
    for key, name in seen.told.held.items():
        if key not in recorded | held:
            yield f"volume {key} of {name} is neither kept nor recorded as scrubbed"


def released_is_unreachable(seen: Seen) -> Iterator[str]:
    """3. Released only after its export is revoked and gone, and so until it is scrubbed."""
    for volume in seen.rows.volumes:
        export = seen.fabric._exports.get(volume.object_name)
        if volume.state not in {V.RELEASED, V.SCRUBBING, V.FAULTY} or export is None:
            continue
        if volume.object_name in seen.removed and export.access is None and not export.sessions:
            # it was ready when its object went; the export of nothing follows it
            continue
        may_be_left = seen.exports_may_be_left and volume.object_name in seen.may_be_left
        if not may_be_left and not seen.may_be_remade(volume.object_name):
            yield f"{volume} is exported, with {len(export.sessions)} sessions"


def only_its_server_is_admitted(seen: Seen) -> Iterator[str]:
    """3. An export admits the server of the attachment, with its own account, or nobody."""
    servers = {server.id: server for server in seen.rows.servers}
    attachments = {each.volume_id: each for each in seen.rows.attachments if each.volume_id}
    for target, export in seen.fabric._exports.items():
        if export.access is None:
            continue
        volume = seen.by_object.get(target)
        holder = attachments.get(volume.id) if volume else None
        if volume is None or holder is None:
            yield f"{target} admits {export.access.initiator}, and nobody has it: {volume}"
        elif export.access.initiator != servers[holder.server_id].initiator:
            yield f"{target} of {holder} admits {export.access.initiator}"
        elif export.access.chap is None or export.access.chap.username != holder.chap_username:
            yield f"{target} of {holder} asks for the account {export.access.chap}"


def accounted(rows: Rows) -> set[str]:
    """Each object that may be there: what takes a scrubbed one's place is made in the scrub."""
    names = {volume.object_name for volume in rows.volumes} | rows.portions().keys()
    following = (
        f"vol-{volume.id}-g{volume.generation + 1}"
        for volume in rows.volumes
        if volume.state == V.SCRUBBING
    )
    return names | set(following)


def nothing_without_a_row(seen: Seen) -> Iterator[str]:
    """4. What the storage and the fabric hold has its row: the intent was written first."""
    known = accounted(seen.rows) | seen.may_be_left | seen.strays.keys()
    for name in seen.storage._objects:
        if name not in known:
            yield f"{name} is on the storage without a row"
    for target in seen.fabric._exports:
        volume = seen.by_object.get(target)
        if volume is not None and volume.state in _MAY_HAVE_EXPORT:
            continue
        if target in seen.removed | seen.strays.keys():
            continue
        may_be_left = seen.exports_may_be_left and target in seen.may_be_left
        if not may_be_left and not seen.may_be_remade(target):
            yield f"{target} is exported, its row is {volume}"


def no_row_claims_what_is_absent(seen: Seen) -> Iterator[str]:
    """4. A volume that may be used is there, whole, and exported."""
    resumed = {
        volume.id
        for volume in seen.rows.volumes
        if volume.state == V.ATTACHING
        and any(a.volume_id == volume.id and a.resumed_release for a in seen.rows.attachments)
    }
    for volume in seen.rows.volumes:
        has_object = seen.storage._find(volume.object_name) is not None
        is_removed = volume.object_name in seen.removed
        if volume.state in _HAS_OBJECT and not has_object and not (volume.slot or is_removed):
            yield f"{volume} has no object"
        # one that comes back is exported while it is granted
        absent = volume.object_name not in seen.fabric._exports and volume.id not in resumed
        if volume.state in _HAS_EXPORT and absent and not (seen.exports_lost or is_removed):
            yield f"{volume} is not exported"
    for version in seen.rows.versions:
        stored = version.rw_object or version.ro_object
        if version.state == "ready" and seen.storage._find(stored) is None:
            yield f"image version {version} has no object"
    versions = {version.id: version.state for version in seen.rows.versions}
    for volume in seen.rows.volumes:
        if versions.get(volume.image_version_id) in {None, "deleting"}:
            yield f"{volume} is of a version that is {versions.get(volume.image_version_id)}"


def no_pool_overfills(seen: Seen) -> Iterator[str]:
    """Capacity: planned to detaching, and scrubbed to be ready again, within ``max_replicas``.

    A run takes all that is released, and destroys what there is no room for.
    """
    for pool in seen.rows.pools:
        volumes = [volume for volume in seen.rows.volumes if volume.pool_id == pool.id]
        occupied = sum(
            volume.state in CAPACITY_STATES
            and not (volume.state == V.SCRUBBING and volume.after_scrub == AfterScrub.DESTROY)
            for volume in volumes
        )
        if occupied > pool.max_replicas:
            states = Counter(volume.state for volume in volumes)
            yield f"pool {pool.name} has {states} of at most {pool.max_replicas}"


def told_attached_holds(seen: Seen) -> Iterator[str]:
    """5. Who was told to be attached is, with that very volume, and can log in."""
    attachments = {each.id: each for each in seen.rows.attachments}
    for use in seen.told.of(Known.ATTACHED):
        assert use.told is not None
        told, row = use.told, attachments.get(use.told.id)
        if row is None or row.state != "attached":
            yield f"{use.name} was told to be attached, and is {row}"
            continue
        if (row.volume_id, row.volume_generation) != (told.volume_id, told.volume_generation):
            yield f"{use.name} was told {told.volume_id}, and has {row.volume_id}"
        export = seen.fabric._exports.get(f"vol-{told.volume_id}-g{told.volume_generation}")
        granted = export is not None and export.access is not None
        if not seen.exports_lost and not granted:
            yield f"{use.name} was told to be attached, and its server is not admitted"


def told_released_holds(seen: Seen) -> Iterator[str]:
    """5. Who was told to be released is."""
    attachments = {each.id for each in seen.rows.attachments}
    for use in seen.told.of(Known.RELEASED):
        if use.told is not None and use.told.id in attachments:
            yield f"{use.name} was told to be released, and still is there"


def told_created_holds(seen: Seen) -> Iterator[str]:
    """5. What was told to be created is there; what was told to be deleted is not."""
    live = {
        "image": {each.name for each in seen.rows.images if each.deleted_at is None},
        "pool": {each.name for each in seen.rows.pools if each.deleted_at is None},
    }
    for kind, told in (("image", seen.told.images), ("pool", seen.told.pools)):
        for name in told - live[kind]:
            yield f"{kind} {name} was told to be created, and is not there"
    found = [*seen.rows.images, *seen.rows.pools]
    for each in found:
        if each.deleted_at is None and each.id in seen.told.gone:
            yield f"{each} was told to be deleted, and still is there"


def quarantine_is_for_strays(seen: Seen) -> Iterator[str]:
    """4. What a row accounts for is no orphan, and no orphan goes before its grace is over."""
    known = accounted(seen.rows)
    for orphan in seen.rows.orphans:
        if orphan.name in known:
            yield f"{orphan.name} is in quarantine, and a row accounts for it"
    for name, watched_s in seen.strays.items():
        if seen.storage._find(name) is None and watched_s < seen.orphan_grace_s - 1:
            yield f"{name} was deleted after {watched_s:g} s"


def undo_window_is_kept(seen: Seen) -> Iterator[str]:
    """A run takes nothing whose release can still be undone."""
    runs = {run.id: run for run in seen.rows.runs}
    windows = {p.id: p.scrub_undo_window_s for p in seen.rows.pools if p.deleted_at is None}
    for volume in seen.rows.volumes:
        run = runs.get(volume.scrub_run_id)
        if volume.state != V.SCRUBBING or run is None or run.trigger in _WITHOUT_WINDOW:
            continue
        if volume.object_name in seen.removed or volume.released_at > run.started_at + _AHEAD_S:
            # what is gone can't come back; a clock set back tells nobody how long ago it was
            continue
        if run.started_at - volume.released_at < windows.get(volume.pool_id, 0.0):
            yield f"{volume} was released at {volume.released_at}, its run began {run.started_at}"


def told_holds_hold(seen: Seen) -> Iterator[str]:
    """5. Who was told to hold so many does: less what was taken by the ticket, and no less."""
    rows = {(each.ticket, each.pool_name): each for each in _named_holds(seen.rows)}
    for ticket in seen.told.tickets.values():
        if not ticket.id:
            continue
        row = rows.get((ticket.id, ticket.pool))
        lives = row is not None and row.expires_at > seen.now
        if ticket.is_over and lives:
            yield f"{ticket} was told to be over, and holds {row.remaining if row else 0}"
        may_be_over = ticket.is_over or ticket.is_asked_back or ticket.pool not in seen.told.pools
        if may_be_over or ticket.expires_at <= seen.now + 1:
            continue
        most = ticket.count - ticket.used
        if row is None or not most - ticket.in_doubt <= row.remaining <= most:
            yield f"{ticket} holds {row.remaining if row else None}"


def _named_holds(rows: Rows) -> Iterator[Row]:
    names = {pool.id: pool.name for pool in rows.pools}
    for each in rows.holds:
        yield Row({**each.columns, "pool_name": names.get(each.pool_id, "")})


Check = Callable[[Seen], Iterator[str]]
CHECKS: tuple[Check, ...] = (
    one_attachment_each,
    one_user_a_server,
    no_byte_crosses,
    own_bytes_are_kept,
    ready_is_as_its_image,
    scrubbed_before_reuse,
    released_is_unreachable,
    only_its_server_is_admitted,
    nothing_without_a_row,
    no_row_claims_what_is_absent,
    no_pool_overfills,
    told_attached_holds,
    told_released_holds,
    told_created_holds,
    quarantine_is_for_strays,
    undo_window_is_kept,
    told_holds_hold,
)
