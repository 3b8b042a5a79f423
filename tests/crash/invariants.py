"""The design's invariants, as they must hold at every instant: each is asked "and if it died now?".

Looked at from outside: the durable rows, the storage, the fabric, and what callers were told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from clonepool.backends.memory import MemoryBackend
from clonepool.domain.states import CAPACITY_STATES, AfterScrub, VolumeState
from clonepool.fabrics.memory import MemoryFabric
from tests.crash.rows import Row, Rows
from tests.crash.users import Known, Told, marks_in

V = VolumeState
_HELD = {V.ATTACHING, V.ALLOCATED, V.DETACHING}
# states in which the last user's bytes are still there, or in work
_UNSCRUBBED = _HELD | {V.RELEASED, V.SCRUBBING, V.FAULTY}
_HAS_OBJECT = _HELD | {V.READY, V.RELEASED}
_HAS_EXPORT = {V.READY, V.ATTACHING, V.ALLOCATED}
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
    names = {each.id: each.name for each in seen.rows.attachments}
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


def nothing_without_a_row(seen: Seen) -> Iterator[str]:
    """4. What the storage and the fabric hold has its row: the intent was written first."""
    portions = seen.rows.portions()
    for name in seen.storage._objects:
        if name not in seen.by_object and name not in portions and name not in seen.may_be_left:
            yield f"{name} is on the storage without a row"
    for target in seen.fabric._exports:
        volume = seen.by_object.get(target)
        if volume is not None and volume.state in _MAY_HAVE_EXPORT:
            continue
        may_be_left = seen.exports_may_be_left and target in seen.may_be_left
        if not may_be_left and not seen.may_be_remade(target):
            yield f"{target} is exported, its row is {volume}"


def no_row_claims_what_is_absent(seen: Seen) -> Iterator[str]:
    """4. A volume that may be used is there, whole, and exported."""
    for volume in seen.rows.volumes:
        has_object = seen.storage._find(volume.object_name) is not None
        if volume.state in _HAS_OBJECT and not has_object and not volume.slot:
            yield f"{volume} has no object"
        absent = volume.object_name not in seen.fabric._exports
        if volume.state in _HAS_EXPORT and absent and not seen.exports_lost:
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


Check = Callable[[Seen], Iterator[str]]
CHECKS: tuple[Check, ...] = (
    one_attachment_each,
    one_user_a_server,
    no_byte_crosses,
    scrubbed_before_reuse,
    released_is_unreachable,
    only_its_server_is_admitted,
    nothing_without_a_row,
    no_row_claims_what_is_absent,
    no_pool_overfills,
    told_attached_holds,
    told_released_holds,
    told_created_holds,
)
