"""Closed or killed at any stage, the engine goes on by itself on what it finds."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from clonepool.backends.memory import MemoryBackend
from clonepool.domain.model import ImageSpec, PageRequest, Ref, ScrubPolicy
from clonepool.domain.states import AttachmentState, OperationState, VolumeState
from clonepool.errors import FailedPrecondition, NotFound
from clonepool.host_lock import HostLock
from clonepool.testing.engines import USER, EngineRig

V = VolumeState
ONE = {"min_ready": 1, "max_replicas": 1, "scrub": ScrubPolicy(threshold=1)}


class Killed(BaseException):
    """The thread dies here, as with kill -9: nothing catches it, and nothing is written."""


def memory(rig: EngineRig) -> MemoryBackend:
    assert isinstance(rig.storage, MemoryBackend)
    return rig.storage


def kill_worker_at(rig: EngineRig, wanted: str) -> threading.Event:
    """Let the next worker that comes to a backend's step die there; set when it did."""
    died = threading.Event()

    def step(at: str, _name: str) -> None:
        if at == wanted and not died.is_set():
            died.set()
            raise Killed

    memory(rig).on_step = step
    return died


def kill_caller_at(rig: EngineRig, wanted: str) -> None:
    """Let the next caller that comes to a fabric's step die there."""
    left = [wanted]

    def step(at: str) -> None:
        if left and at == left[0]:
            left.clear()
            raise Killed

    rig.fabric.fault = step


@pytest.mark.parametrize("step", ["clone.begin", "clone.work", "clone.publish", "clone.done"])
def test_a_clone_that_was_killed_is_made_by_the_next_start(web: EngineRig, step: str) -> None:
    died = kill_worker_at(web, step)
    web.add_pool(min_ready=2, filled=False)
    assert died.wait(20)
    web.reopen()
    web.wait_ready(2)
    assert 2 == len([item for item in web.storage.list() if item.name.startswith("vol-")])


@pytest.mark.parametrize("step", ["import.begin", "import.work", "import.publish", "import.done"])
def test_an_import_that_was_killed_is_made_by_the_next_start(rig: EngineRig, step: str) -> None:
    died = kill_worker_at(rig, step)
    spec = ImageSpec(name="web", system_user=USER, writable=rig.portion("rw"))
    rig.engine.images.create(spec=spec, token="t")
    assert died.wait(20)
    rig.reopen()
    rig.wait_imported("web", number=1)
    assert 1 == len(list(rig.storage.list()))


@pytest.mark.parametrize("step", ["delete.begin", "delete.done", "clone.begin", "clone.done"])
def test_a_scrub_that_was_killed_is_finished_by_the_next_start(web: EngineRig, step: str) -> None:
    web.add_pool(**ONE)
    attached = web.attach_and_wait("a")
    name = web.volume(attached.volume_id).object_name
    memory(web).open(name=name).write_at(0, b"of acme")
    died = kill_worker_at(web, step)
    web.release(attached)
    assert died.wait(20)
    web.reopen()
    web.wait_ready(1)
    (volume,) = web.volumes()
    assert (attached.volume_id, 2) == (volume.id, volume.generation)
    assert b"golden" == memory(web).read(name=volume.object_name, offset=0, length=6)
    found, _token = web.engine.scrub.list_records(page=PageRequest())
    assert 1 == len(found), "one record of each generation"
    (run,) = web.wait_runs_over()
    assert (1, 1) == (run.volumes, run.recycled)


@pytest.mark.parametrize("step", ["grant.begin", "grant.half", "grant.end"])
def test_a_grant_that_was_killed_is_made_by_the_next_start(web: EngineRig, step: str) -> None:
    web.add_pool(min_ready=1)
    kill_caller_at(web, step)
    with pytest.raises(Killed):
        web.attach("a")
    web.reopen()
    attached = web.engine.attachments.get(ref=Ref(name="a"))
    assert attached.connection is not None
    assert web.fabric.login(
        target=attached.connection.target, initiator="iqn.2026-01.test:a", chap=attached.chap
    ).is_alive()
    web.pass_time_until(
        lambda: web.volume(attached.volume_id).state is V.ALLOCATED, what=web.volumes
    )
    assert attached.id == web.attach("a").id


@pytest.mark.parametrize(
    "step", ["revoke.begin", "revoke.end", "unexport.begin", "unexport.half", "unexport.end"]
)
def test_a_release_that_was_killed_is_finished_by_the_next_start(web: EngineRig, step: str) -> None:
    web.add_pool(min_ready=1)
    attached = web.attach_and_wait("a")
    kill_caller_at(web, step)
    with pytest.raises(Killed):
        web.release(attached)
    web.reopen()
    assert attached.connection is not None
    with pytest.raises(NotFound):
        web.fabric.login(
            target=attached.connection.target, initiator="iqn.2026-01.test:a", chap=attached.chap
        )
    web.pass_time_until(
        lambda: web.volume(attached.volume_id).state is V.RELEASED, what=web.volumes
    )
    assert attached.connection.target not in web.fabric.list()


def test_a_start_finds_the_exports_that_the_fabric_lost(web: EngineRig) -> None:
    web.add_pool(min_ready=1)
    attached = web.attach_and_wait("a")
    web.wait_ready(1)
    before = web.fabric.list()
    web.close()
    web.fabric.restart()
    web.open()
    assert before == web.fabric.list()
    assert attached.connection is not None
    assert web.fabric.login(
        target=attached.connection.target, initiator="iqn.2026-01.test:a", chap=attached.chap
    ).is_alive()


def test_a_restart_keeps_live_sessions(web: EngineRig) -> None:
    web.add_pool(min_ready=1)
    attached = web.attach_and_wait("a")
    assert attached.connection is not None
    session = web.fabric.login(
        target=attached.connection.target, initiator="iqn.2026-01.test:a", chap=attached.chap
    )
    web.reopen()
    web.advance(61)
    assert session.is_alive()


def test_a_start_removes_exports_without_a_row(web: EngineRig) -> None:
    web.add_pool(min_ready=1)
    volume = web.volumes()[0]
    spec = web.fabric._exports[volume.target].spec
    web.close()
    stray = type(spec)(target="vol-stray-g1", luns=spec.luns)
    web.fabric.export(stray)
    web.open()
    assert {volume.target} == web.fabric.list()


def test_a_start_while_the_fabric_is_away_serves_and_mends_it_later(web: EngineRig) -> None:
    web.add_pool(min_ready=1)
    attached = web.attach_and_wait("a")
    web.wait_ready(1)
    before = web.fabric.list()
    web.close()
    web.fabric.restart()
    web.fabric.away = True
    web.open()
    assert attached.volume_id == web.engine.attachments.list(page=PageRequest())[0][0].volume_id
    web.wait_event("FABRIC_AWAY")
    web.fabric.away = False
    web.wait_for(lambda: web.fabric.list() == before, what=web.fabric.list)


def test_who_waited_is_served_after_a_restart_in_the_same_order(web: EngineRig) -> None:
    web.add_pool(min_ready=0, max_replicas=1)
    web.engine.attachments.lease_s = 1000
    web.attach_and_wait("x")
    for name in ("a", "b"):
        web.attach(name)
    web.reopen()
    web.engine.attachments.lease_s = 1000
    assert [1, 2] == [web.attach(name).place for name in ("a", "b")]
    web.update_pool(max_replicas=2)
    web.wait_count(V.READY, 1)
    assert AttachmentState.WAITING is web.attach("b").state
    assert AttachmentState.ATTACHED is web.attach("a").state


def test_work_of_a_dead_engine_is_taken_over_and_its_report_refused(web: EngineRig) -> None:
    """The worker that was killed holds an old fence; what it left is done once more, once."""
    died = kill_worker_at(web, "clone.work")
    web.add_pool(min_ready=1, filled=False)
    assert died.wait(20)
    (before,), _token = web.engine.operations.list(page=PageRequest(), open_only=True)
    assert OperationState.RUNNING is before.state
    web.reopen()
    web.wait_ready(1)
    after = web.engine.operations.get(ref=Ref(id=before.id))
    assert (OperationState.DONE, before.fence + 1) == (after.state, after.fence)


def test_work_whose_worker_vanished_is_taken_over_when_its_lease_ends(web: EngineRig) -> None:
    died = kill_worker_at(web, "clone.work")
    web.add_pool(min_ready=1, filled=False)
    assert died.wait(20)

    web.pass_time_until(lambda: web.count(V.READY) == 1, what=web.volumes)


def test_closing_stops_long_work_at_its_next_step_and_the_next_start_goes_on(
    web: EngineRig,
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def hold(step: str, _name: str) -> None:
        if step == "clone.begin":
            begun.set()
            assert go_on.wait(20)

    memory(web).on_step = hold
    web.add_pool(min_ready=1, filled=False)
    assert begun.wait(20)
    closing = threading.Thread(target=web.close)
    closing.start()
    go_on.set()
    closing.join(20)
    assert not closing.is_alive()
    memory(web).on_step = lambda _step, _name: None
    web.open()
    web.wait_ready(1)
    assert 0 == web.pool().failures, "a shutdown is no failure"


def test_two_engines_on_one_state_folder_are_refused(rig: EngineRig) -> None:
    with pytest.raises(FailedPrecondition, match="another engine"):
        HostLock(rig.settings.state_dir / "engine.lock").acquire(wait_s=0)


def test_an_engine_keeps_its_identity(rig: EngineRig) -> None:
    first = rig.engine.info().engine_id
    rig.reopen()
    assert first == rig.engine.info().engine_id


def test_an_engine_that_cannot_open_its_state_lets_go_of_the_lock(tmp_path: Path) -> None:
    rig = EngineRig(tmp_path)
    with rig:
        key = rig.settings.state_dir / "secret.key"
    key.chmod(0o644)
    with pytest.raises(FailedPrecondition, match="chmod 600"):
        rig.open()
    key.chmod(0o600)
    with rig:
        assert rig.engine.info().version


def test_an_engine_in_memory_counts_what_it_holds(web: EngineRig) -> None:
    web.add_pool(min_ready=1)
    web.attach_and_wait("a")
    web.wait_ready(1)
    facts = web.engine.info()
    assert (1, 1, 1, 1, 2) == (
        facts.images,
        facts.pools,
        facts.servers,
        facts.attachments,
        facts.volumes,
    )
    assert [("default", "")] == [(each.name, each.error) for each in facts.storages]
