"""Storage and fabric change behind the engine's back: found, told of, and never papered over."""

from __future__ import annotations

import pytest

from clonepool.domain.model import PageRequest, Ref
from clonepool.domain.states import Severity, VolumeState
from clonepool.errors import (
    FailedPrecondition,
    NotFound,
)
from clonepool.testing.engines import EngineRig
from tests.controllers.drifting import STRAY, after_the_first_look, look, memory, names, quarantine
from tests.controllers.steps import login

V = VolumeState


def test_a_ready_replica_whose_object_is_gone_is_faulty_and_replaced(pool: EngineRig) -> None:
    (lost, _other) = pool.volumes(state="ready")
    pool.storage.delete(name=lost.object_name)
    look(pool)
    assert V.FAULTY is pool.volume(lost.id).state
    assert "is not on storage default any more" in pool.volume(lost.id).error
    event = pool.wait_event("OBJECT_MISSING")
    assert (f"volume/{lost.id}", "error") == (event.subject, event.severity)
    assert "clonepool scrub run web" in event.message
    pool.wait_ready(2)
    assert lost.target not in pool.fabric.list()
    attached = [pool.attach_and_wait(name).volume_id for name in ("a", "b")]
    assert lost.id not in attached


@pytest.mark.parametrize("size_bytes", [512, 2**20])
def test_a_ready_replica_whose_size_was_changed_is_faulty(pool: EngineRig, size_bytes: int) -> None:
    (changed, _other) = pool.volumes(state="ready")
    memory(pool).open(name=changed.object_name).size_bytes = size_bytes
    look(pool)
    assert V.FAULTY is pool.volume(changed.id).state
    assert f"has {size_bytes} bytes, not {changed.size_bytes}" in pool.volume(changed.id).error
    pool.wait_event("OBJECT_CHANGED")
    pool.wait_ready(2)


def test_a_faulty_replica_is_replaced_by_a_scrub_that_names_no_user(pool: EngineRig) -> None:
    """It is used again in a new generation; its scrub record names nobody, as nobody had it."""
    pool.update_pool(min_ready=3)
    pool.wait_ready(3)
    lost = pool.volumes(state="ready")[0]
    pool.storage.delete(name=lost.object_name)
    look(pool)
    pool.wait_ready(3)
    assert pool.engine.scrub.start(pool="web") is not None
    pool.wait_runs_over()
    (record,), _token = pool.engine.scrub.list_records(page=PageRequest(), volume_id=lost.id)
    assert (None, "", "") == (record.system_user, record.attachment_id, record.server_name)


def test_a_pool_with_a_faulty_replica_can_be_deleted(pool: EngineRig) -> None:
    lost = pool.volumes(state="ready")[0]
    pool.storage.delete(name=lost.object_name)
    look(pool)
    pool.engine.pools.delete(pool_id=pool.pool().id)
    pool.pass_time_until(lambda: not pool.volumes(), what=pool.volumes)


def test_an_allocated_volume_whose_object_is_gone_is_told_of_and_left_as_it_is(
    pool: EngineRig,
) -> None:
    attached = pool.attach_and_wait("a")
    volume = pool.volume(attached.volume_id)
    kept = memory(pool).open(name=volume.object_name)
    content = dict(kept.chunks)
    memory(pool)._objects.pop(volume.object_name)
    look(pool)
    event = pool.wait_event("OBJECT_MISSING")
    assert "attachment a of server server-a holds it" in event.message
    assert V.ALLOCATED is pool.volume(volume.id).state
    assert volume.object_name not in names(pool), "never silently made anew"
    look(pool)
    assert 1 == len(pool.events("OBJECT_MISSING")), "told once"
    memory(pool)._objects[volume.object_name] = kept
    look(pool)
    pool.wait_event("OBJECT_BACK")
    assert "" == pool.volume(volume.id).error
    assert content == kept.chunks


def test_a_released_volume_whose_object_is_gone_is_faulty_and_keeps_its_last_user(
    pool: EngineRig,
) -> None:
    attached = pool.attach_and_wait("a")
    volume = pool.volume(attached.volume_id)
    pool.release(attached)
    pool.storage.delete(name=volume.object_name)
    look(pool)
    after = pool.volume(volume.id)
    assert (V.FAULTY, attached.id) == (after.state, after.last_attachment_id)
    assert after.last_system_user is not None
    pool.wait_event("OBJECT_MISSING")


def test_a_replica_whose_object_is_gone_and_not_missed_yet_is_not_given_to_a_server(
    pool: EngineRig,
) -> None:
    """The caller is told so, asks again, and gets another one."""
    after_the_first_look(pool)
    pool.update_pool(min_ready=1)
    pool.wait_ready(1)
    (lost,) = pool.volumes(state="ready")
    pool.storage.delete(name=lost.object_name)
    with pytest.raises(FailedPrecondition, match=f"{lost.object_name} is not .* ask for another"):
        pool.attach("a")
    assert V.RELEASED is pool.volume(lost.id).state
    assert lost.id != pool.attach_and_wait("a").volume_id


def test_an_attachment_whose_object_is_gone_is_not_told_to_be_gone_itself(pool: EngineRig) -> None:
    """A program that refreshes its state would else forget the attachment and ask for another."""
    attached = pool.attach_and_wait("a")
    pool.storage.delete(name=pool.volume(attached.volume_id).object_name)
    with pytest.raises(FailedPrecondition, match="put the file back"):
        pool.engine.attachments.get(ref=Ref(id=attached.id))
    pool.release(attached)
    with pytest.raises(NotFound):
        pool.engine.attachments.get(ref=Ref(id=attached.id))


def test_a_release_is_not_undone_when_the_object_is_gone(pool: EngineRig) -> None:
    after_the_first_look(pool)
    attached = pool.attach_and_wait("a")
    volume = pool.volume(attached.volume_id)
    pool.release(attached)
    pool.storage.delete(name=volume.object_name)
    for _ in range(2):
        with pytest.raises(FailedPrecondition, match="put the file back"):
            pool.engine.attachments.undo_release(attachment="a")
        assert V.RELEASED is pool.volume(volume.id).state
    look(pool)
    assert V.FAULTY is pool.volume(volume.id).state
    with pytest.raises(FailedPrecondition, match="is faulty: it can't come back"):
        pool.engine.attachments.undo_release(attachment="a")


def test_an_image_that_lost_its_object_stops_its_pool_until_it_is_back(pool: EngineRig) -> None:
    current = pool.image().current
    assert current is not None
    assert current.writable is not None
    name = current.writable.object_name
    kept = memory(pool)._objects.pop(name)
    look(pool)
    assert f"object {name} is not on storage default" in pool.pool().stopped_reason
    assert "image/web" == pool.wait_event("IMAGE_OBJECT_LOST").subject
    assert "pool/web" == pool.wait_event("POOL_STOPPED").subject
    look(pool)
    assert 1 == len(pool.events("IMAGE_OBJECT_LOST")), "told once"
    pool.attach_and_wait("a")
    memory(pool)._objects[name] = kept
    look(pool)
    assert "" == pool.pool().stopped_reason
    pool.wait_event("IMAGE_OBJECT_BACK")
    pool.wait_ready(2)


def test_a_pool_that_stopped_for_another_reason_stays_stopped(pool: EngineRig) -> None:
    current = pool.image().current
    assert current is not None
    assert current.read_only is not None
    name = current.read_only.object_name
    kept = memory(pool)._objects.pop(name)
    look(pool)
    pool.engine.pools.reset(ref=Ref(name="web"))

    def fail(step: str, _name: str) -> None:
        if step == "clone.begin":
            raise RuntimeError("broken")

    memory(pool).on_step = fail
    pool.update_pool(min_ready=3)
    pool.pass_time_until(lambda: "broken" in pool.pool().stopped_reason, what=pool.pool)
    memory(pool)._objects[name] = kept
    look(pool)
    pool.wait_event("IMAGE_OBJECT_BACK")
    assert "broken" in pool.pool().stopped_reason


def test_work_in_flight_is_not_drift(web: EngineRig) -> None:
    """A replica is being cloned, another given up, while the storage is looked at."""
    looked = []

    def step(_step: str, _name: str) -> None:
        looked.append(_step)
        look(web)

    memory(web).on_step = step
    web.add_pool(min_ready=3)
    web.update_pool(min_ready=0)
    web.wait_for(lambda: not web.volumes(), what=web.volumes)
    assert {"clone.begin", "clone.publish", "delete.begin", "delete.done"} <= set(looked)
    assert [] == quarantine(web)
    told = {event.reason for event in web.events()}
    assert set() == told & {"OBJECT_MISSING", "ORPHANS_FOUND", "STRAY_EXPORTS_REMOVED"}


def test_a_claim_wins_over_a_look_that_saw_the_replica_ready(pool: EngineRig) -> None:
    """Between the look and its consequence the replica is allocated: then it is not faulty."""
    pool.update_pool(min_ready=1)
    pool.wait_ready(1)
    (volume,) = pool.volumes(state="ready")
    kept = memory(pool)._objects.pop(volume.object_name)
    stat = memory(pool).stat
    attached = []

    def claim_first(*, name: str):  # type: ignore[no-untyped-def]
        memory(pool).stat = stat  # type: ignore[method-assign]
        memory(pool)._objects[volume.object_name] = kept
        attached.append(pool.attach("a"))
        memory(pool)._objects.pop(volume.object_name)
        return stat(name=name)

    memory(pool).stat = claim_first  # type: ignore[method-assign]
    look(pool)
    assert [volume.id] == [each.volume_id for each in attached]
    assert V.FAULTY is not pool.volume(volume.id).state


def test_targets_that_somebody_removed_are_made_again_and_granted(pool: EngineRig) -> None:
    attached = pool.attach_and_wait("a")
    pool.wait_ready(2)
    pool.wait_for(lambda: pool.engine._exports.is_settled("iscsi", pool.fabric), what="settled")
    before = pool.fabric.list()
    for target in before:
        pool.fabric.unexport(target)
    look(pool)
    assert before == pool.fabric.list()
    assert login(pool, attached).is_alive()
    event = pool.wait_event("EXPORTS_MADE_AGAIN")
    assert "fabric/iscsi" == event.subject
    for volume in pool.volumes(state="ready"):
        with pytest.raises(NotFound):
            pool.fabric.login(target=volume.target, initiator="iqn.2026-01.test:a")


def test_who_was_let_in_by_hand_is_shut_out_while_the_engine_runs(pool: EngineRig) -> None:
    attached = pool.attach_and_wait("a")
    session = login(pool, attached)
    pool.wait_for(lambda: pool.engine._exports.is_settled("iscsi", pool.fabric), what="settled")
    pool.wait_ready(2)
    ready = pool.volumes(state="ready")[0].target
    pool.fabric.let_in(target=ready, initiator="iqn.2026-01.test:stranger")
    stranger = pool.fabric.login(target=ready, initiator="iqn.2026-01.test:stranger")
    look(pool)
    assert (False, True) == (stranger.is_alive(), session.is_alive())
    event = pool.wait_event("EXPORTS_PUT_RIGHT")
    assert ("fabric/iscsi", Severity.WARNING) == (event.subject, event.severity)
    assert ready in event.message
    look(pool)
    assert 1 == len(pool.events("EXPORTS_PUT_RIGHT"))


def test_live_sessions_outlive_a_look(pool: EngineRig) -> None:
    session = login(pool, pool.attach_and_wait("a"))
    for _ in range(2):
        look(pool)
    assert session.is_alive()


def test_an_export_of_a_released_volume_is_removed(pool: EngineRig) -> None:
    attached = pool.attach_and_wait("a")
    volume = pool.volume(attached.volume_id)
    spec = pool.fabric._exports[volume.target].spec
    pool.release(attached)
    pool.fabric.export(spec)
    pool.wait_for(lambda: pool.engine._exports.is_settled("iscsi", pool.fabric), what="settled")
    look(pool)
    assert volume.target not in pool.fabric.list()
    assert volume.target in pool.wait_event("STRAY_EXPORTS_REMOVED").message


def test_a_start_says_which_exports_it_removed(pool: EngineRig) -> None:
    spec = pool.fabric._exports[pool.volumes()[0].target].spec
    pool.close()
    pool.fabric.export(type(spec)(target=STRAY, luns=spec.luns))
    pool.open()
    assert STRAY in pool.wait_event("STRAY_EXPORTS_REMOVED").message
