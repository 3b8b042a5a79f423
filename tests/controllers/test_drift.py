"""Storage and fabric change behind the engine's back: found, told of, and never papered over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from clonepool.backends.memory import MemoryBackend
from clonepool.domain.drift import Orphan
from clonepool.domain.model import PageRequest, Ref, ScrubPolicy
from clonepool.domain.states import CloneMode, VolumeState
from clonepool.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from clonepool.store import orphans
from clonepool.testing.engines import EngineRig
from tests.controllers.steps import login

V = VolumeState
STRAY = "vol-0b5f2a3c-1111-4222-8333-444455556666-g1"
MINUTE_S = 60.0


def memory(rig: EngineRig) -> MemoryBackend:
    assert isinstance(rig.storage, MemoryBackend)
    return rig.storage


def look(rig: EngineRig) -> None:
    """Compare everything now."""
    rig.engine.reconcile.run_once()


def look_for(rig: EngineRig, seconds: float) -> None:
    """Let time pass as an engine sees it pass: with a look every few minutes."""
    for _ in range(int(seconds / 300)):
        rig.clock.advance(300)
        look(rig)


def leave_stray(rig: EngineRig, name: str = STRAY) -> None:
    """An object of ours that no row accounts for."""
    image = rig.image().current
    assert image is not None
    assert image.writable is not None
    rig.storage.clone(image=image.writable.object_name, name=name, mode=CloneMode.FULL)


def quarantine(rig: EngineRig) -> list[Orphan]:
    found, _token = rig.engine.orphans.list(page=PageRequest())
    return list(found)


def names(rig: EngineRig) -> set[str]:
    return {info.name for info in rig.storage.list()}


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


def test_a_stray_is_quarantined_listed_and_deleted_when_its_time_is_over(web: EngineRig) -> None:
    leave_stray(web)
    look(web)
    (orphan,) = quarantine(web)
    assert ("default", STRAY, 0.0) == (orphan.storage, orphan.name, orphan.waited_s)
    event = web.wait_event("ORPHANS_FOUND")
    assert ("storage/default", "warning") == (event.subject, event.severity)
    assert "deleted after 1h" in event.message
    look_for(web, 55 * MINUTE_S)
    assert STRAY in names(web)
    assert 1 == len(web.events("ORPHANS_FOUND")), "told once"
    look_for(web, 10 * MINUTE_S)
    assert STRAY not in names(web)
    assert [] == quarantine(web)
    assert STRAY in web.wait_event("ORPHAN_DELETED").message


def test_a_quarantine_survives_a_restart_and_goes_on(web: EngineRig) -> None:
    leave_stray(web)
    look(web)
    look_for(web, 30 * MINUTE_S)
    (before,) = quarantine(web)
    web.reopen()
    (after,) = quarantine(web)
    assert before.first_seen_at == after.first_seen_at
    assert after.waited_s >= before.waited_s >= 30 * MINUTE_S
    look_for(web, 35 * MINUTE_S)
    assert STRAY not in names(web)


@pytest.mark.parametrize("jump_s", [-86_400.0, 86_400.0])
def test_a_clock_that_jumps_deletes_nothing_early(web: EngineRig, jump_s: float) -> None:
    leave_stray(web)
    look(web)
    web.clock.advance(jump_s)
    look(web)
    web.reopen()
    look(web)
    assert STRAY in names(web)
    look_for(web, 75 * MINUTE_S)
    assert STRAY not in names(web)


def test_what_is_not_named_as_ours_is_never_touched(web: EngineRig) -> None:
    for name in ("backup", "vol-backup-g1", "img-golden-rw"):
        leave_stray(web, name)
    before = names(web)
    look(web)
    look_for(web, 120 * MINUTE_S)
    assert before == names(web)
    assert [] == quarantine(web)


def test_a_storage_full_of_strays_is_held_until_somebody_looks(web: EngineRig) -> None:
    """The database is perhaps an old copy, and the strays are what servers write to."""
    strays = [STRAY.replace("0b5f", f"0b5{number}") for number in range(4)]
    for name in strays:
        leave_stray(web, name)
    look(web)
    assert "the database an old copy" in web.wait_event("ORPHANS_HELD").message
    look_for(web, 120 * MINUTE_S)
    assert set(strays) <= names(web)
    assert 1 == len(web.events("ORPHANS_HELD"))
    assert [None] * 4 == [web.engine.orphans.due_in_s(orphan) for orphan in quarantine(web)]
    web.engine.orphans.delete(storage="default", name=strays[0])
    assert strays[0] not in names(web)
    look(web)
    assert set(strays[1:]).isdisjoint(names(web)), "three are few enough, and their time is over"


def test_an_orphan_is_never_deleted_where_the_setting_says_so(tmp_path: Path) -> None:
    rig = EngineRig(tmp_path)
    rig.settings = replace(rig.settings, orphan_grace_s=None)
    with rig:
        rig.add_image()
        leave_stray(rig)
        look(rig)
        look_for(rig, 600 * MINUTE_S)
        assert STRAY in names(rig)
        assert ["orphan_grace is never"] == [orphan.held for orphan in quarantine(rig)]
        assert [] == rig.events("ORPHANS_HELD")


def test_an_object_that_gets_its_row_leaves_the_quarantine(pool: EngineRig) -> None:
    """As after the right database was put back."""
    volume = pool.volumes(state="ready")[0]
    orphan = Orphan(
        storage="default",
        name=volume.object_name,
        size_bytes=1,
        used_bytes=1,
        first_seen_at=0,
        seen_at=0,
        waited_s=1e6,
        held="",
    )
    pool.engine._state.write(lambda transaction: orphans.keep(transaction, orphan))
    with pytest.raises(FailedPrecondition, match="a row accounts for it"):
        pool.engine.orphans.delete(storage="default", name=volume.object_name)
    pool.engine._state.write(lambda transaction: orphans.keep(transaction, orphan))
    look(pool)
    assert [] == quarantine(pool)
    assert volume.object_name in names(pool)
    pool.wait_event("ORPHANS_RESOLVED")


def test_an_orphan_that_somebody_removed_leaves_the_quarantine(web: EngineRig) -> None:
    leave_stray(web)
    look(web)
    web.storage.delete(name=STRAY)
    look(web)
    assert [] == quarantine(web)
    web.engine.orphans.delete(storage="default", name=STRAY)
    web.engine.orphans.delete(storage="default", name="../../etc/passwd")


def test_what_is_not_in_quarantine_cannot_be_deleted_as_an_orphan(pool: EngineRig) -> None:
    volume = pool.volumes(state="ready")[0]
    with pytest.raises(FailedPrecondition, match="is not in quarantine"):
        pool.engine.orphans.delete(storage="default", name=volume.object_name)
    assert volume.object_name in names(pool)
    with pytest.raises(InvalidArgument, match="it has default"):
        pool.engine.orphans.delete(storage="other", name=STRAY)


def test_an_orphan_that_cannot_be_deleted_is_tried_again(web: EngineRig) -> None:
    leave_stray(web)
    look(web)

    def fail(step: str, _name: str) -> None:
        if step == "delete.begin":
            raise Unavailable("the storage is away for a moment")

    memory(web).on_step = fail
    look_for(web, 70 * MINUTE_S)
    assert STRAY in names(web)
    assert 1 == len(quarantine(web))
    memory(web).on_step = lambda _step, _name: None
    look(web)
    assert STRAY not in names(web)


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


def test_looks_come_by_themselves(web: EngineRig) -> None:
    leave_stray(web)
    web.reopen()
    web.wait_for(lambda: quarantine(web), what="the first look, at the start")
    web.clock.advance(331)
    web.wait_for(lambda: quarantine(web)[0].waited_s > 0, what=lambda: quarantine(web))


def test_a_storage_that_is_away_is_told_of_and_loses_nothing(pool: EngineRig) -> None:
    def away(_self: object = None) -> None:
        raise Unavailable("the storage does not answer", reason="STORAGE_AWAY")

    backend = memory(pool)
    listing, backend.check, backend.list = backend.list, away, away  # type: ignore[method-assign,assignment]
    look(pool)
    look(pool)
    assert 1 == len(pool.events("STORAGE_AWAY"))
    assert 2 == pool.count(V.READY)
    del backend.check
    backend.list = listing  # type: ignore[method-assign]
    look(pool)
    pool.wait_event("STORAGE_BACK")
    assert 2 == pool.count(V.READY)


def test_a_clock_that_was_set_back_is_told_of(pool: EngineRig) -> None:
    look(pool)
    pool.clock.advance(-7200)
    look(pool)
    assert "set back by 2h" in pool.wait_event("CLOCK_SET_BACK").message
    look(pool)
    assert 1 == len(pool.events("CLOCK_SET_BACK"))
    pool.wait_ready(2)
    pool.attach_and_wait("a")


def test_a_clock_that_was_set_back_while_no_engine_ran_is_told_of(pool: EngineRig) -> None:
    pool.close()
    pool.clock.advance(-7200)
    pool.open()
    pool.wait_event("CLOCK_SET_BACK")
    pool.attach_and_wait("a")


def test_a_full_storage_does_not_stop_a_pool_for_good(web: EngineRig) -> None:
    full = [True]

    def fail(step: str, _name: str) -> None:
        if step == "clone.begin" and full:
            raise ResourceExhausted("0 B is free", reason="STORAGE_FULL")

    memory(web).on_step = fail
    web.add_pool(min_ready=1, filled=False, scrub=ScrubPolicy(threshold=5))
    for _ in range(8):
        attempts = [each.attempt for each in web.engine.operations.list(page=PageRequest())[0]]
        web.pass_time_until(
            lambda seen=attempts: (
                [each.attempt for each in web.engine.operations.list(page=PageRequest())[0]] != seen
            ),
            what=lambda: "another attempt",
        )
    assert "" == web.pool().stopped_reason
    full.clear()
    web.pass_time_until(lambda: web.count(V.READY) == 1, what=web.volumes)
