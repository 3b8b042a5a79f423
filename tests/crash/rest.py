"""What must be true once the engine has had the time to do all it has to: nothing is stuck."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence

from clonepool import windows
from clonepool.domain.audit_check import check_lines
from clonepool.domain.states import CAPACITY_STATES, VolumeState
from clonepool.errors import ClonepoolError
from clonepool.store.operations import NEVER
from tests.crash.rows import Row, Rows
from tests.crash.users import Known
from tests.crash.world import World

V = VolumeState
_AT_REST = {V.READY, V.ALLOCATED, V.RELEASED}


def check_rest(world: World) -> None:
    """Let the engine come to rest, and look. Raises AssertionError."""
    world.settle()
    world.check()
    found = [text for check in CHECKS for text in check(world)]
    assert not found, found


def stuck(world: World) -> Iterator[str]:
    """No work is open, nothing is half done, every run has its end."""
    rows = world.rows()
    for operation in rows.operations:
        if operation.run_after < NEVER:
            yield f"{operation.kind} of {operation.subject} is {operation.state}"
    for volume in rows.volumes:
        if volume.state not in _AT_REST:
            yield f"{volume} is not at rest"
    for each in rows.attachments:
        if each.state == "detaching":
            yield f"the release of {each} was begun and never finished"
    yield from _open_runs(rows)


def _open_runs(rows: Rows) -> Iterator[str]:
    for run in rows.runs:
        counted = run.recycled + run.destroyed + run.faulty
        if run.state == "running" or counted != run.volumes:
            yield f"scrub run {run.id} is {run.state} with {counted} of {run.volumes}"


def unequal(world: World) -> Iterator[str]:
    """Storage and fabric hold what the rows say, and nothing else."""
    rows, storage, fabric = world.rows(), world.machine.storage, world.machine.fabric
    objects = {volume.object_name for volume in rows.volumes if not volume.slot}
    portions = [(version.rw_object, version.ro_object) for version in rows.versions]
    objects |= {name for names in portions for name in names if name}
    found = set(storage._objects)
    if objects - found:
        yield f"in the rows and not on the storage: {sorted(objects - found)}"
    left = found - objects - world.may_be_left - world.strays.keys()
    if left:
        yield f"on the storage and not in the rows: {sorted(left)}"
    exported = {v.object_name for v in rows.volumes if v.state in {V.READY, V.ALLOCATED}}
    targets = set(fabric._exports) - world.strays.keys()
    if exported != targets:
        yield f"exported: {sorted(targets)}; in the rows: {sorted(exported)}"
    holders = {use.told.id for use in world.told.of(Known.ATTACHED) if use.told}
    unsure = {
        use.name
        for use in world.told.of(Known.ASKED, Known.WAITING, Known.RELEASING, Known.UNDOING)
    }
    for each in rows.attachments:
        if each.id not in holders and each.name not in unsure:
            yield f"{each} is held, and nobody knows of it"


def stock(world: World) -> Iterator[str]:
    """Every pool has its stock, as far as it may, and scrubbed what it should."""
    rows, now = world.rows(), world.machine.clock()
    current = _current_versions(rows)
    for pool in rows.pools:
        volumes = [volume for volume in rows.volumes if volume.pool_id == pool.id]
        if pool.deleted_at is not None:
            yield f"the deleted pool {pool.name} still has {len(volumes)} volumes"
            continue
        ready = [v for v in volumes if v.state == V.READY]
        occupied = sum(v.state in CAPACITY_STATES for v in volumes)
        promised = pool.min_ready + rows.held_of(pool.id, now=now)
        wanted = min(promised, pool.max_replicas - (occupied - len(ready)))
        if len(ready) != wanted and current[pool.image_id]:
            yield f"pool {pool.name} has {len(ready)} ready, not {wanted}"
        for volume in ready:
            if volume.image_version_id != current[pool.image_id]:
                yield f"{volume} is ready with an old version"
        yield from _unscrubbed(pool, volumes, now=now)


def _unscrubbed(pool: Row, volumes: Sequence[Row], *, now: float) -> Iterator[str]:
    ages = [now - v.released_at for v in volumes if v.state == V.RELEASED]
    ages = [age for age in ages if age >= pool.scrub_undo_window_s]
    is_due = len(ages) >= pool.scrub_threshold
    if pool.scrub_max_age_s and ages:
        is_due = is_due or max(ages) >= pool.scrub_max_age_s
    if is_due and windows.is_open(json.loads(pool.scrub_windows), at=now):
        yield f"pool {pool.name} has some released for {ages} s, and does not scrub"


def audited(world: World) -> Iterator[str]:
    """The audit's chain holds: who had what, and that it was erased before the next had it."""
    try:
        check_lines(world.life.engine.audit.export())
    except ClonepoolError as error:
        yield f"the audit does not hold: {error}"


def unused(world: World) -> Iterator[str]:
    """What nothing refers to is gone."""
    rows = world.rows()
    current = _current_versions(rows)
    used = {volume.image_version_id for volume in rows.volumes}
    newest = {
        image_id: max(v.number for v in rows.versions if v.image_id == image_id)
        for image_id in {version.image_id for version in rows.versions}
    }
    for version in rows.versions:
        is_newest = version.number == newest[version.image_id]
        if version.id not in used | set(current.values()) and not is_newest:
            yield f"version {version.number} is {version.state}, and nothing refers to it"
    for image in rows.images:
        if image.deleted_at is not None and not any(p.image_id == image.id for p in rows.pools):
            yield f"the deleted image {image.name} is still there"


def _current_versions(rows: Rows) -> Mapping[str, str | None]:
    images: list[Row] = list(rows.images)
    return {image.id: image.current_version_id for image in images}


CHECKS: Sequence[Callable[[World], Iterator[str]]] = (stuck, unequal, stock, unused, audited)
