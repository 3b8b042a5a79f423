"""Released volumes are quarantined, erased in batches at the threshold, and only then reused."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from clonepool.backends.file import FileBackend
from clonepool.backends.memory import MemoryBackend
from clonepool.domain.model import Attachment, PageRequest, Ref, ScrubPolicy
from clonepool.domain.policy import MAX_SCRUB_ATTEMPTS
from clonepool.domain.states import (
    AfterScrub,
    AttachmentState,
    PortionRole,
    ScrubMethod,
    ScrubRunState,
    VolumeState,
)
from clonepool.errors import FailedPrecondition, Internal, NotFound, Unavailable
from clonepool.testing.engines import DEFAULT_IMAGE_BYTES, USER, EngineRig

V = VolumeState


def memory(rig: EngineRig) -> MemoryBackend:
    assert isinstance(rig.storage, MemoryBackend)
    return rig.storage


def attach_all(rig: EngineRig, *names: str) -> list[Attachment]:
    return [rig.attach_and_wait(name) for name in names]


def records(rig: EngineRig, **filters: str) -> list:
    found, _token = rig.engine.scrub.list_records(page=PageRequest(), **filters)
    return list(found)


def fail_at(rig: EngineRig, step: str, error: Exception) -> list[str]:
    """Fail at a backend's step from now on; what was refused."""
    failed: list[str] = []

    def fail(at: str, name: str) -> None:
        if at == step:
            failed.append(name)
            raise error

    memory(rig).on_step = fail
    return failed


def wait_faulty(rig: EngineRig, number: int) -> None:
    rig.pass_time_until(lambda: rig.count(V.FAULTY) == number, what=rig.volumes)


def test_below_the_threshold_nothing_is_scrubbed(web: EngineRig) -> None:
    web.add_pool(min_ready=3, scrub=ScrubPolicy(threshold=3))
    web.release(*attach_all(web, "a", "b"))
    web.wait_ready(3)
    web.wake()
    assert 2 == web.count(V.RELEASED)
    assert [] == web.runs()
    assert [] == records(web)


def test_at_the_threshold_all_are_scrubbed_in_one_run(web: EngineRig) -> None:
    web.add_pool(min_ready=3, scrub=ScrubPolicy(threshold=3))
    web.release(*attach_all(web, "a", "b", "c"))
    (run,) = web.wait_runs_over()
    assert ("threshold", 3, 3, ScrubRunState.DONE) == (
        run.trigger,
        run.volumes,
        run.scrubbed,
        run.state,
    )
    assert 0 == web.count(V.RELEASED)


def test_a_released_volume_has_lost_its_export_and_keeps_its_bytes(web: EngineRig) -> None:
    web.add_pool(min_ready=1, scrub=ScrubPolicy(threshold=9))
    (attached,) = attach_all(web, "a")
    volume = web.volume(attached.volume_id)
    memory(web).open(name=volume.object_name).write_at(0, b"of acme")
    web.release(attached)
    assert volume.target not in web.fabric.list()
    assert b"of acme" == memory(web).read(name=volume.object_name, offset=0, length=7)
    assert (V.RELEASED, None) == (web.volume(volume.id).state, web.volume(volume.id).attachment_id)
    assert USER == web.volume(volume.id).last_system_user


def test_a_run_reuses_what_is_short_and_destroys_the_rest(web: EngineRig) -> None:
    """Everything was in use: nothing could be made ahead until the threshold was reached."""
    web.add_pool(min_ready=1, max_replicas=3, scrub=ScrubPolicy(threshold=9))
    attached = attach_all(web, "a", "b", "c")
    assert AttachmentState.WAITING is web.attach("d").state
    web.close()
    web.open(start=False)
    web.release(*attached)
    run = web.engine.scrub.start(pool="web")
    assert run is not None
    web.reopen()
    (run,) = web.wait_runs_over()
    assert (2, 1, 3) == (run.recycled, run.destroyed, run.scrubbed)
    web.attach_and_wait("d")
    web.wait_ready(1)
    assert {1, 2} >= {volume.generation for volume in web.volumes()}


def test_a_reused_volume_is_a_new_generation_with_the_masters_bytes(web: EngineRig) -> None:
    web.add_pool(min_ready=1, max_replicas=1, scrub=ScrubPolicy(threshold=1))
    (attached,) = attach_all(web, "a")
    before = web.volume(attached.volume_id)
    memory(web).open(name=before.object_name).write_at(0, b"of acme")
    web.release(attached)
    web.wait_ready(1)
    (after,) = web.volumes()
    assert (before.id, 2) == (after.id, after.generation)
    assert b"golden" == memory(web).read(name=after.object_name, offset=0, length=6)
    with pytest.raises(NotFound):
        web.storage.stat(name=before.object_name)
    assert web.fabric.list() == {after.target}
    assert "" == after.error
    (record,) = records(web)
    assert (before.id, 1, "web", USER, "server-a", AfterScrub.RECYCLE) == (
        record.volume_id,
        record.generation,
        record.pool_name,
        record.system_user,
        record.server_name,
        record.then,
    )
    assert record.allocated_at < record.released_at < record.started_at < record.finished_at


def test_what_a_scrub_brings_back_is_not_made_a_second_time(web: EngineRig) -> None:
    """Two volumes do for a pool of two, however often they are used."""
    web.add_pool(min_ready=2, max_replicas=2, scrub=ScrubPolicy(threshold=1))
    for turn in range(3):
        web.release(*attach_all(web, f"a{turn}", f"b{turn}"))
        web.wait_ready(2)
    assert {4} == {volume.generation for volume in web.volumes()}
    assert 6 == len(records(web))


def test_while_a_scrub_runs_nothing_is_made_in_the_place_of_what_it_brings_back(
    web: EngineRig,
) -> None:
    web.add_pool(min_ready=1, scrub=ScrubPolicy(threshold=9))
    first = web.attach_and_wait("a")
    web.wait_ready(1)
    web.close()
    web.open(start=False)
    web.release(first, web.attach("b"))
    assert web.engine.scrub.start(pool="web") is not None
    go_on = threading.Event()

    def hold(step: str, name: str) -> None:
        assert step != "delete.begin" or not name.startswith("vol-") or go_on.wait(20)

    memory(web).on_step = hold
    web.reopen()
    for name in ("one", "two"):
        # filled: the planner has looked at every pool since
        web.add_pool(name, min_ready=1)
    assert {V.SCRUBBING: 2} == web.pool().counts.by_state
    go_on.set()
    web.wait_ready(1)


def test_destroy_reuses_nothing(web: EngineRig) -> None:
    scrub = ScrubPolicy(threshold=1, then=AfterScrub.DESTROY)
    web.add_pool(min_ready=1, max_replicas=1, scrub=scrub)
    (attached,) = attach_all(web, "a")
    web.release(attached)
    web.wait_ready(1)
    assert attached.volume_id not in {volume.id for volume in web.volumes()}
    (run,) = web.wait_runs_over()
    assert (0, 1) == (run.recycled, run.destroyed)
    assert [AfterScrub.DESTROY] == [record.then for record in records(web)]


def test_a_reused_volume_gets_the_current_version(web: EngineRig) -> None:
    web.add_pool(min_ready=1, max_replicas=1, scrub=ScrubPolicy(threshold=1))
    (attached,) = attach_all(web, "a")
    web.update_image(writable=web.portion("second", fill=b"silver"))
    web.release(attached)
    web.wait_ready(1)
    (volume,) = web.volumes()
    assert (attached.volume_id, 2) == (volume.id, volume.image_version)
    assert b"silver" == memory(web).read(name=volume.object_name, offset=0, length=6)


@pytest.mark.parametrize("method", [ScrubMethod.ZERO, ScrubMethod.DISCARD])
def test_overwriting_erases_in_place_before_the_object_goes(
    web: EngineRig, method: ScrubMethod
) -> None:
    web.add_pool(min_ready=1, max_replicas=1, scrub=ScrubPolicy(threshold=1, method=method))
    (attached,) = attach_all(web, "a")
    name = web.volume(attached.volume_id).object_name
    steps: list[str] = []
    memory(web).on_step = lambda step, at: steps.append(step) if at == name else None
    web.release(attached)
    web.wait_ready(1)
    done = [step for step in steps if step.endswith(".done")]
    assert ["erase.done", "delete.done"] == done
    assert [method] == [record.method for record in records(web)]


def test_an_unknown_method_is_refused_when_the_pool_is_declared(rig: EngineRig) -> None:
    class NoDiscard(MemoryBackend):
        def capabilities(self):
            known = frozenset({ScrubMethod.REFORMAT})
            return type(super().capabilities())(
                thin_clones=True, thin_reason="", scrub_methods=known, erasure_note=""
            )

    rig.close()
    rig.add_storage("default", NoDiscard())
    rig.open()
    rig.add_image()
    with pytest.raises(FailedPrecondition, match="can't scrub by zero; it can by reformat"):
        rig.add_pool(scrub=ScrubPolicy(method=ScrubMethod.ZERO))


def test_on_demand_the_released_are_scrubbed_below_the_threshold(web: EngineRig) -> None:
    web.add_pool(min_ready=1, scrub=ScrubPolicy(threshold=9))
    assert web.engine.scrub.start(pool="web") is None
    web.release(*attach_all(web, "a"))
    run = web.engine.scrub.start(pool="web")
    assert run is not None
    assert ("demand", 1) == (run.trigger, run.volumes)
    web.wait_runs_over()
    with pytest.raises(NotFound):
        web.engine.scrub.start(pool="nobody")


def test_a_scrub_that_keeps_failing_makes_the_volume_faulty_and_says_how_to_go_on(
    web: EngineRig,
) -> None:
    web.add_pool(min_ready=1, max_replicas=1, scrub=ScrubPolicy(threshold=1))
    (attached,) = attach_all(web, "a")
    name = web.volume(attached.volume_id).object_name
    failed = fail_at(web, "delete.begin", Internal("the disk is dying"))
    web.release(attached)
    wait_faulty(web, 1)
    volume = web.volume(attached.volume_id)
    assert "dying" in volume.error
    assert MAX_SCRUB_ATTEMPTS == len([each for each in failed if each == name])
    assert "clonepool scrub run web" in web.wait_event("SCRUB_FAILED").message
    (run,) = web.wait_runs_over()
    assert (ScrubRunState.FAILED, 1, 0) == (run.state, run.faulty, run.scrubbed)
    assert [] == records(web)
    web.advance(10_000)
    web.attach_and_wait("b")
    assert web.attach("b").volume_id != attached.volume_id, "a faulty volume is never handed out"


def test_a_faulty_volume_is_scrubbed_again_on_demand(web: EngineRig) -> None:
    web.add_pool(min_ready=1, max_replicas=1, scrub=ScrubPolicy(threshold=1))
    (attached,) = attach_all(web, "a")
    fail_at(web, "delete.begin", Internal("the disk is dying"))
    web.release(attached)
    wait_faulty(web, 1)
    memory(web).on_step = lambda _step, _name: None
    run = web.engine.scrub.start(pool="web")
    assert run is not None
    assert 1 == run.volumes
    web.wait_runs_over(2)
    assert [(attached.volume_id, 1)] == [(each.volume_id, each.generation) for each in records(web)]
    web.wait_for(lambda: web.count(V.FAULTY) == 0, what=web.volumes)


def test_a_deleted_pools_faulty_volume_is_tried_again_and_goes(web: EngineRig) -> None:
    """A tombstone can't be named on the command line: it has to mend itself."""
    pool = web.add_pool(min_ready=1, max_replicas=1, scrub=ScrubPolicy(threshold=1))
    (attached,) = attach_all(web, "a")
    fail_at(web, "delete.begin", Internal("the disk is dying"))
    web.release(attached)
    wait_faulty(web, 1)
    web.engine.pools.delete(pool_id=pool.id)
    memory(web).on_step = lambda _step, _name: None

    web.pass_time_until(lambda: not web.volumes(), what=web.volumes)


def test_a_fabric_that_is_away_makes_no_volume_faulty(web: EngineRig) -> None:
    web.add_pool(min_ready=1, max_replicas=1, scrub=ScrubPolicy(threshold=1))
    (attached,) = attach_all(web, "a")
    tries = []

    def away(step: str) -> None:
        if step == "unexport.begin" and web.volume(attached.volume_id).state is V.SCRUBBING:
            tries.append(step)
            raise Unavailable("the daemon is away")

    web.fabric.fault = away
    web.release(attached)

    web.pass_time_until(lambda: len(tries) > 2 * MAX_SCRUB_ATTEMPTS, what=web.volumes)
    web.fabric.fault = lambda _step: None
    web.pass_time_until(lambda: web.count(V.SCRUBBING) == 0, what=web.volumes)
    web.wait_ready(1)
    assert 0 == web.count(V.FAULTY)


def test_a_waiter_that_lacks_space_has_the_released_scrubbed_early(rig: EngineRig) -> None:
    rig.close()
    rig.add_storage("default", MemoryBackend(thin=False, total_bytes=3 * DEFAULT_IMAGE_BYTES))
    rig.open()
    rig.add_image()
    rig.add_pool(min_ready=0, scrub=ScrubPolicy(threshold=9))
    attached = attach_all(rig, "a", "b")
    rig.release(attached[0])
    assert 1 == rig.count(V.RELEASED)
    rig.attach_and_wait("c")
    event = rig.wait_event("SCRUB_STARTED")
    assert "early, for space" in event.message
    assert ["low_space"] == [run.trigger for run in rig.runs()]
    assert [] == rig.events("NO_SPACE"), "it was mended already"


def test_without_leave_to_scrub_early_the_message_names_the_command(rig: EngineRig) -> None:
    rig.close()
    rig.add_storage("default", MemoryBackend(thin=False, total_bytes=3 * DEFAULT_IMAGE_BYTES))
    rig.open()
    rig.add_image()
    rig.add_pool(min_ready=0, scrub=ScrubPolicy(threshold=9, on_low_space=False))
    attached = attach_all(rig, "a", "b")
    rig.release(attached[0])
    assert AttachmentState.WAITING is rig.attach("c").state
    assert "clonepool scrub run web" in rig.wait_event("NO_SPACE").message
    assert [] == rig.runs()
    rig.engine.scrub.start(pool="web")
    rig.attach_and_wait("c")


def test_no_byte_of_the_last_user_reaches_the_next(tmp_path: Path) -> None:
    """On real files, read and written by logged-in servers."""
    folder = tmp_path / "storage"
    folder.mkdir()
    storage = FileBackend.from_options({}, default_directory=folder)
    with EngineRig(tmp_path, storage=storage) as rig:
        rig.add_image()
        rig.add_pool(min_ready=1, max_replicas=1, scrub=ScrubPolicy(threshold=1))
        for turn in range(3):
            attached = rig.attach_and_wait(f"a{turn}")
            assert attached.connection is not None
            server = rig.fabric.login(
                target=attached.connection.target,
                initiator=f"iqn.2026-01.test:a{turn}",
                chap=attached.chap,
            )
            seen = server.read(PortionRole.WRITABLE, 0, DEFAULT_IMAGE_BYTES)
            assert b"of server" not in seen
            assert seen.startswith(b"goldengolden")
            server.write(PortionRole.WRITABLE, 4096 * turn, b"of server %d" % turn)
            rig.release(attached, force=True)
            with pytest.raises(Unavailable):
                server.read(PortionRole.WRITABLE, 0, 1)
            rig.wait_ready(1)
        assert 3 == len(records(rig))


def test_a_volume_still_in_use_is_not_scrubbed(web: EngineRig) -> None:
    """A defect elsewhere must not turn into somebody else's data under a live session."""
    web.add_pool(min_ready=1, max_replicas=1, scrub=ScrubPolicy(threshold=2))
    (attached,) = attach_all(web, "a")
    volume = web.volume(attached.volume_id)
    spec = web.fabric._exports[volume.target].spec
    access = web.fabric._exports[volume.target].access
    web.release(attached)
    web.fabric.export(spec)
    assert access is not None
    web.fabric.grant(spec, access)
    session = web.fabric.login(target=volume.target, initiator=access.initiator, chap=access.chap)
    web.engine.scrub.start(pool="web")
    web.wait_for(lambda: web.volume(volume.id).state is V.SCRUBBING, what=web.volumes)
    web.wait_for(lambda: web.volume(volume.id).error, what=web.volumes)
    assert session.is_alive()
    assert "still in use" in web.volume(volume.id).error
    session.close()
    web.pass_time_until(lambda: records(web), what=web.volumes)


def test_records_and_runs_are_listed_newest_first_page_by_page(web: EngineRig) -> None:
    web.add_pool(min_ready=1, max_replicas=1, scrub=ScrubPolicy(threshold=1))
    for turn in range(3):
        web.release(*attach_all(web, f"a{turn}"))
        web.wait_runs_over(turn + 1)
    for listed in (web.engine.scrub.list_runs, web.engine.scrub.list_records):
        first, token = listed(page=PageRequest(size=2), pool="web")
        rest, end = listed(page=PageRequest(size=2, token=token), pool="web")
        times = [each.finished_at for each in (*first, *rest)]
        assert times == sorted(times, reverse=True)
        assert (2, 1, "") == (len(first), len(rest), end)
    assert [] == records(web, pool="other")
    (volume,) = web.volumes()
    assert 3 == len(records(web, volume_id=volume.id))
    assert [] == records(web, volume_id="other")
    with pytest.raises(NotFound):
        web.engine.scrub.get_run(ref=Ref(id="nothing"))


def test_a_pool_deleted_during_its_scrub_has_the_volume_recorded_as_destroyed(
    web: EngineRig,
) -> None:
    """The run had meant to reuse it; the record says what became of it."""
    made = web.add_pool(min_ready=1, max_replicas=1, scrub=ScrubPolicy(threshold=1))
    attached = web.attach_and_wait("a")

    def delete_pool(at: str, _name: str) -> None:
        if at == "delete.begin":
            web.engine.pools.delete(pool_id=made.id)

    memory(web).on_step = delete_pool
    web.engine.attachments.delete(attachment_id=attached.id, force=False)
    web.wait_runs_over()
    (run,), _ = web.engine.scrub.list_runs(page=PageRequest())
    (record,) = records(web)
    assert (run.recycled, run.destroyed, record.then) == (0, 1, AfterScrub.DESTROY)
