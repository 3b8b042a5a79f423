"""Bytes are changed in place, behind the engine: found by reading what was written to."""

from __future__ import annotations

from clonepool.domain.states import VolumeState
from clonepool.testing.engines import EngineRig
from tests.controllers.drifting import look, memory

V = VolumeState


def scribble(rig: EngineRig, name: str, data: bytes = b"x") -> bytes:
    """Write at an object's beginning, as nobody may; returns what was there."""
    found = memory(rig).open(name=name)
    before = found.read_at(0, len(data))
    read_only, found.read_only = found.read_only, False
    found.write_at(0, data)
    found.read_only, found.written_at = read_only, rig.clock()
    return before


def image_object(rig: EngineRig) -> str:
    (name,) = (each.name for each in rig.storage.list() if each.name.endswith("-rw"))
    return name


def test_a_ready_replica_whose_bytes_were_changed_is_never_handed_out(pool: EngineRig) -> None:
    (changed, kept) = pool.volumes(state="ready")
    scribble(pool, changed.object_name)
    look(pool)
    assert V.FAULTY is pool.volume(changed.id).state
    assert V.READY is pool.volume(kept.id).state
    event = pool.wait_event("OBJECT_CHANGED")
    assert f"the bytes of {changed.object_name} on storage default" in event.message
    pool.wait_ready(2)
    assert changed.id not in {pool.attach_and_wait(name).volume_id for name in ("a", "b")}
    assert pool.engine.scrub.start(pool="web") is not None
    pool.wait_runs_over()
    assert not pool.volumes(state="faulty")


def test_a_replica_that_was_written_to_and_holds_its_images_bytes_stays_ready(
    pool: EngineRig,
) -> None:
    """A copy that was put back, or a file that was merely touched; it is not read each time."""
    (touched, _other) = pool.volumes(state="ready")
    scribble(pool, touched.object_name, scribble(pool, touched.object_name))
    assert memory(pool).stat(name=touched.object_name).written_at is not None
    look(pool)
    assert V.READY is pool.volume(touched.id).state
    assert memory(pool).stat(name=touched.object_name).written_at is None


def test_what_a_server_writes_is_its_own(pool: EngineRig) -> None:
    attached = pool.attach_and_wait("a")
    volume = pool.volume(attached.volume_id)
    scribble(pool, volume.object_name)
    look(pool)
    assert ("", V.ALLOCATED) == (pool.volume(volume.id).error, pool.volume(volume.id).state)
    pool.release(attached)
    look(pool)
    assert V.RELEASED is pool.volume(volume.id).state
    assert [] == pool.events("OBJECT_CHANGED")


def test_an_image_whose_bytes_were_changed_stops_its_pools_until_they_are_right_again(
    pool: EngineRig,
) -> None:
    name = image_object(pool)
    pool.clock.advance(1.0)
    before = scribble(pool, name)
    for _ in range(2):
        look(pool)
    event = pool.wait_event("IMAGE_OBJECT_LOST")
    assert f"the bytes of {name} on storage default are not those" in event.message
    assert 1 == len(pool.events("IMAGE_OBJECT_LOST")), "told once"
    assert "changed behind the engine's back" in pool.pool().stopped_reason
    assert 2 == len(pool.volumes(state="ready")), "what was cloned before is right"
    scribble(pool, name, before)
    look(pool)
    pool.wait_event("IMAGE_OBJECT_BACK")
    assert "" == pool.pool().stopped_reason


def test_what_was_made_of_an_image_after_its_bytes_were_changed_is_not_handed_out(
    pool: EngineRig,
) -> None:
    """A look comes every few minutes only."""
    name = image_object(pool)
    right = {volume.id for volume in pool.volumes(state="ready")}
    pool.clock.advance(1.0)
    before = scribble(pool, name)
    pool.update_pool(min_ready=4)
    pool.wait_ready(4)
    for _ in range(2):
        look(pool)
    assert right == {volume.id for volume in pool.volumes(state="ready")}
    scribble(pool, name, before)
    look(pool)
    pool.wait_ready(4)
    for volume in pool.volumes(state="ready"):
        assert before == memory(pool).open(name=volume.object_name).read_at(0, 1)


def test_an_image_that_is_restored_with_its_date_is_back_too(pool: EngineRig) -> None:
    name = image_object(pool)
    before = scribble(pool, name)
    look(pool)
    pool.wait_event("POOL_STOPPED")
    scribble(pool, name, before)
    memory(pool).seal(name=name)
    look(pool)
    pool.wait_event("POOL_RESET")
