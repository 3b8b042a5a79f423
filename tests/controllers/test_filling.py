"""Pools fill by themselves, within their limits, and say when they can't."""

from __future__ import annotations

import threading

import pytest

from clonepool.backends.base import Space
from clonepool.backends.memory import MemoryBackend
from clonepool.domain.model import PageRequest, Ref, ScrubPolicy
from clonepool.domain.policy import MAX_POOL_FAILURES
from clonepool.domain.states import AttachmentState, CloneMode, VolumeState, WhenEmpty
from clonepool.errors import FailedPrecondition, Internal, NotFound, ResourceExhausted, Unavailable
from clonepool.testing.engines import DEFAULT_IMAGE_BYTES, EngineRig

V = VolumeState


class Faults:
    """Raises an error at a backend's step while it is switched on."""

    def __init__(self, storage: MemoryBackend, step: str, error: Exception) -> None:
        self.on = True
        self.count = 0
        self._step = step
        self._error = error
        storage.on_step = self

    def __call__(self, step: str, _name: str) -> None:
        if self.on and step == self._step:
            self.count += 1
            raise self._error


class BrokenSpace(MemoryBackend):
    """Does not say how much is free while it is switched on."""

    on = False

    def space(self) -> Space:
        if self.on:
            raise Unavailable("the storage does not answer")
        return super().space()


def memory(rig: EngineRig) -> MemoryBackend:
    assert isinstance(rig.storage, MemoryBackend)
    return rig.storage


def objects(rig: EngineRig, prefix: str = "vol-") -> set[str]:
    return {item.name for item in rig.storage.list() if item.name.startswith(prefix)}


def wait_stopped(rig: EngineRig) -> None:
    """Let the waits between tries pass until the pool gives up."""

    rig.pass_time_until(lambda: rig.pool().stopped_reason, what=rig.pool)


def test_a_pool_fills_to_min_ready_before_any_server_asks(web: EngineRig) -> None:
    web.add_pool(min_ready=5)
    ready = web.volumes(state="ready")
    assert 5 == len(ready)
    assert {volume.object_name for volume in ready} == objects(web)
    assert {volume.target for volume in ready} == web.fabric.list()


def test_a_ready_replica_admits_nobody(web: EngineRig) -> None:
    web.add_pool(min_ready=1)
    target = web.volumes()[0].target
    with pytest.raises(NotFound):
        web.fabric.login(target=target, initiator="iqn.2026-01.test:a")


def test_a_pool_refills_behind_each_attachment(web: EngineRig) -> None:
    web.add_pool(min_ready=2)
    for number in range(3):
        web.attach_and_wait(f"a{number}")
    web.wait_ready(2)
    assert 5 == len(web.volumes())


def test_a_pool_stays_within_max_replicas(web: EngineRig) -> None:
    web.add_pool(min_ready=2, max_replicas=3)
    for number in range(3):
        web.attach_and_wait(f"a{number}")
    assert AttachmentState.WAITING is web.attach("a3").state
    web.wait_ready(0)
    assert 3 == len(web.volumes())


def test_a_lowered_min_ready_gives_replicas_up(web: EngineRig) -> None:
    web.add_pool(min_ready=5)
    web.update_pool(min_ready=2)
    web.wait_ready(2)
    web.wait_for(lambda: len(objects(web)) == 2, what=lambda: objects(web))
    assert 2 == len(web.fabric.list())


def test_a_raised_min_ready_is_filled(web: EngineRig) -> None:
    web.add_pool(min_ready=1)
    web.update_pool(min_ready=4)
    web.wait_ready(4)


def test_a_waiter_is_served_beyond_min_ready(web: EngineRig) -> None:
    web.add_pool(min_ready=0)
    attached = web.attach_and_wait("a")
    assert not attached.warm
    assert web.volume(attached.volume_id).state is V.ALLOCATED


def test_who_was_served_at_once_was_served_warm(web: EngineRig) -> None:
    web.add_pool(min_ready=1)
    assert web.attach("a").warm


def test_what_a_clone_really_was_is_shown(web: EngineRig) -> None:
    assert "thin" == web.add_pool(min_ready=1).clone_kind
    assert "full" == web.add_pool("full", min_ready=1, clone_mode=CloneMode.FULL).clone_kind


def test_thin_clones_are_refused_where_there_are_none(rig: EngineRig) -> None:
    rig.close()
    rig.add_storage("default", MemoryBackend(thin=False))
    rig.open()
    rig.add_image()
    with pytest.raises(FailedPrecondition, match="no thin clones"):
        rig.add_pool(clone_mode=CloneMode.THIN)


def test_clones_that_fail_are_tried_again_later(web: EngineRig) -> None:
    faults = Faults(memory(web), "clone.begin", Internal("the storage is odd"))
    web.add_pool(min_ready=1, filled=False)
    web.wait_for(lambda: web.pool().failures == 1, what=web.pool)
    volume = web.volumes()[0]
    assert "odd" in volume.error
    assert V.CLONING is volume.state
    web.wake()
    assert 1 == faults.count, "tried again without waiting"
    faults.on = False
    web.advance(2)
    web.wait_ready(1)
    assert 0 == web.pool().failures
    assert "" == web.volumes()[0].error


def test_a_pool_that_fails_too_often_stops_visibly_until_it_is_reset(web: EngineRig) -> None:
    faults = Faults(memory(web), "clone.begin", Internal("the storage is odd"))
    web.add_pool(min_ready=2, filled=False)
    wait_stopped(web)
    event = web.wait_event("POOL_STOPPED")
    assert "clonepool pool reset web" in event.message
    assert "odd" in web.pool().stopped_reason
    tries = faults.count
    assert tries >= MAX_POOL_FAILURES
    web.advance(10_000)
    web.wake()
    assert tries == faults.count, "a stopped pool must not go on trying"
    with pytest.raises(FailedPrecondition, match="odd") as refused:
        web.attach("a")
    assert "POOL_STOPPED" == refused.value.reason
    faults.on = False
    web.engine.pools.reset(ref=Ref(name="web"))
    web.wait_ready(2)
    assert "" == web.pool().stopped_reason
    assert web.events("POOL_RESET")


def test_a_waiter_of_a_pool_that_stops_is_told(web: EngineRig) -> None:
    Faults(memory(web), "clone.begin", Internal("the storage is odd"))
    web.add_pool(min_ready=0)
    assert AttachmentState.WAITING is web.attach("a").state
    web.engine.attachments.lease_s = 1e9
    web.attach("a")
    wait_stopped(web)
    with pytest.raises(FailedPrecondition, match="odd"):
        web.attach("a")


def test_a_fabric_that_is_away_for_a_while_stops_no_pool(web: EngineRig) -> None:
    """It comes back by itself, and then the pool must fill by itself."""
    tries = []

    def away(step: str) -> None:
        if step == "export.begin":
            tries.append(step)
            raise Unavailable("the daemon is away")

    web.fabric.fault = away
    web.add_pool(min_ready=1, filled=False)

    web.pass_time_until(lambda: len(tries) > 2 * MAX_POOL_FAILURES, what=web.pool)
    assert "away" in web.volumes()[0].error
    web.fabric.fault = lambda _step: None
    web.pass_time_until(lambda: web.count(V.READY) == 1, what=web.volumes)
    assert "" == web.pool().stopped_reason


def test_a_stopped_pool_is_filled_with_the_version_that_mends_it(web: EngineRig) -> None:
    """What was begun of the broken version is given up."""
    web.add_pool(min_ready=2, filled=False)
    web.wait_ready(2)
    broken = f"img-{web.image().latest.id}-rw"
    web.storage.delete(name=broken)
    web.update_pool(min_ready=4)
    wait_stopped(web)
    web.update_image(writable=web.portion("second"))
    web.engine.pools.reset(ref=Ref(name="web"))
    web.wait_ready(4)
    assert {2} == {volume.image_version for volume in web.volumes()}


def test_a_stopped_pool_can_be_deleted(web: EngineRig) -> None:
    """Its volumes that could never be cloned go too."""
    Faults(memory(web), "clone.begin", Internal("the storage is odd"))
    pool = web.add_pool(min_ready=2, filled=False)
    wait_stopped(web)
    web.engine.pools.delete(pool_id=pool.id)
    web.wait_for(lambda: not web.volumes(), what=web.volumes)


def test_a_pool_deleted_while_its_last_try_fails_goes(web: EngineRig) -> None:
    """A clone that fails behind the tombstone must not be put off for ever."""
    begun, go_on = threading.Event(), threading.Event()

    def fail(step: str, _name: str) -> None:
        if step != "clone.begin":
            return
        if web.pool().failures == MAX_POOL_FAILURES - 1:
            begun.set()
            assert go_on.wait(20)
        raise Internal("the storage is odd")

    memory(web).on_step = fail
    pool = web.add_pool(min_ready=1, filled=False)

    web.pass_time_until(begun.is_set, what=web.pool)
    web.engine.pools.delete(pool_id=pool.id)
    go_on.set()
    web.wait_for(lambda: not web.volumes(), what=web.volumes)


def test_a_storage_out_of_order_does_not_keep_other_pools_from_filling(rig: EngineRig) -> None:
    """The planner goes on to the next pool, whatever their order."""
    rig.close()
    broken = BrokenSpace()
    rig.add_storage("broken", broken)
    rig.open()
    rig.add_image("odd", storage="broken")
    rig.add_image("web")
    for number in range(3):
        rig.add_pool(f"odd{number}", master_image="odd", min_ready=0)
        rig.add_pool(f"web{number}", min_ready=0)
    broken.on = True
    for number in range(3):
        for name in (f"odd{number}", f"web{number}"):
            rig.attach(f"a-{name}", pool=name)
    for number in range(3):
        rig.attach_and_wait(f"a-web{number}", pool=f"web{number}")
    assert AttachmentState.WAITING is rig.attach("a-odd0", pool="odd0").state


def test_a_pool_that_cannot_fit_is_refused_with_figures_before_anything_is_cloned(
    rig: EngineRig,
) -> None:
    rig.close()
    rig.add_storage("default", MemoryBackend(thin=False, total_bytes=5 * DEFAULT_IMAGE_BYTES))
    rig.open()
    rig.add_image()
    with pytest.raises(ResourceExhausted, match=r"min_ready 5 does not fit.*4 fit"):
        rig.add_pool(min_ready=5)
    assert not rig.volumes()
    rig.add_pool(min_ready=4)


def test_the_reserve_is_left_alone(rig: EngineRig) -> None:
    rig.close()
    rig.add_storage(
        "default", MemoryBackend(thin=False, total_bytes=10 * DEFAULT_IMAGE_BYTES), reserve="30%"
    )
    rig.open()
    rig.add_image()
    with pytest.raises(ResourceExhausted, match="7 more are asked for, 6 fit"):
        rig.add_pool(min_ready=7)


def test_a_pool_that_outgrows_its_storage_says_so_and_how_to_go_on(rig: EngineRig) -> None:
    rig.close()
    rig.add_storage("default", MemoryBackend(thin=False, total_bytes=5 * DEFAULT_IMAGE_BYTES))
    rig.open()
    rig.add_image()
    rig.add_pool(min_ready=3)
    rig.attach_and_wait("a")
    rig.attach_and_wait("b")
    event = rig.wait_event("NO_SPACE")
    assert "free space or lower min_ready" in event.message
    rig.wake()
    assert 1 == len(rig.events("NO_SPACE")), "told once, not every second"


def test_what_two_pools_are_promised_is_not_promised_twice(rig: EngineRig) -> None:
    """Full clones that are planned already count, whichever pool they are of."""
    rig.close()
    rig.add_storage("default", MemoryBackend(thin=False, total_bytes=5 * DEFAULT_IMAGE_BYTES))
    go_on = threading.Event()

    def hold(step: str, _name: str) -> None:
        assert step != "clone.begin" or go_on.wait(20)

    rig.open()
    rig.add_image()
    memory(rig).on_step = hold
    rig.add_pool("one", min_ready=3, filled=False)
    rig.wait_for(lambda: len(rig.volumes()) == 3, what=rig.volumes)
    with pytest.raises(ResourceExhausted, match="1 fit"):
        rig.add_pool("two", min_ready=2, filled=False)
    go_on.set()


def test_an_empty_pool_that_is_not_to_be_waited_for_answers_with_figures(web: EngineRig) -> None:
    web.add_pool(
        min_ready=0, when_empty=WhenEmpty.FAIL, scrub=ScrubPolicy(threshold=9), max_replicas=1
    )
    with pytest.raises(ResourceExhausted, match="no ready replica") as refused:
        web.attach("a")
    assert "POOL_EMPTY" == refused.value.reason


def test_nothing_is_left_open_when_a_pool_is_full(web: EngineRig) -> None:
    web.add_pool(min_ready=2)
    found, _token = web.engine.operations.list(page=PageRequest(), open_only=True)
    assert [] == list(found)
