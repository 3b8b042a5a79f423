"""Attach, poll and release through a fabric that can fail."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from clonepool.domain.model import (
    PageRequest,
    Ref,
    ScrubPolicy,
)
from clonepool.domain.states import (
    AttachmentState,
    PortionRole,
    VolumeState,
)
from clonepool.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unavailable,
)
from clonepool.testing.engines import EngineRig
from tests.controllers.steps import fail_once, get, gone, login, update

V = VolumeState


def test_an_attached_server_reaches_both_volumes_and_no_other_server_does(pool: EngineRig) -> None:
    attached = pool.attach("a")
    assert attached.connection is not None
    assert {
        (PortionRole.READ_ONLY, True),
        (PortionRole.WRITABLE, False),
    } == {(volume.role, volume.read_only) for volume in attached.connection.volumes}
    assert login(pool, attached).is_alive()
    with pytest.raises(NotFound):
        login(pool, attached, initiator="iqn.2026-01.test:b")
    with pytest.raises(PermissionDenied):
        login(pool, replace(attached, chap=None))


def test_the_shared_copy_is_one_object_and_the_writable_ones_are_two(pool: EngineRig) -> None:
    serials = []
    for name in ("a", "b"):
        connection = pool.attach(name).connection
        assert connection is not None
        serials.append({volume.role: volume.serial for volume in connection.volumes})
    assert serials[0][PortionRole.READ_ONLY] == serials[1][PortionRole.READ_ONLY]
    assert serials[0][PortionRole.WRITABLE] != serials[1][PortionRole.WRITABLE]


def test_asking_again_gives_the_same_attachment_and_no_second_volume(pool: EngineRig) -> None:
    first, again = pool.attach("a"), pool.attach("a")
    assert (first.id, first.volume_id, first.connection, first.chap) == (
        again.id,
        again.volume_id,
        again.connection,
        again.chap,
    )
    assert 1 == len(pool.engine.attachments.list(page=PageRequest())[0])
    assert 1 == len(pool.events("ATTACHED"))


def test_many_at_once_each_get_a_volume_of_their_own(web: EngineRig) -> None:
    web.add_pool(min_ready=20, max_replicas=20)
    web.engine.attachments.lease_s = 1e9
    with ThreadPoolExecutor(24) as threads:
        found = list(threads.map(web.attach, [f"a{number:02}" for number in range(24)]))
    attached = [each for each in found if each.state is AttachmentState.ATTACHED]
    waiting = [each for each in found if each.state is AttachmentState.WAITING]
    assert (20, 4) == (len(attached), len(waiting))
    assert 20 == len({each.volume_id for each in attached})
    places = [get(web, each.spec.name).place for each in waiting]
    assert [1, 2, 3, 4] == sorted(places)
    for each in attached:
        assert login(web, each).is_alive()


def test_the_same_ask_from_many_threads_is_one_attachment(pool: EngineRig) -> None:
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _number: pool.attach("a"), range(16)))
    assert 1 == len({each.id for each in found})
    assert 1 == len({each.volume_id for each in found})


def test_a_grant_that_failed_is_finished_by_asking_again(pool: EngineRig) -> None:
    fail_once(pool, "grant.begin", Unavailable("the daemon is away"))
    with pytest.raises(Unavailable):
        pool.attach("a")
    again = pool.attach("a")
    assert AttachmentState.ATTACHED is again.state
    assert 1 == len(pool.engine.attachments.list(page=PageRequest())[0])
    assert login(pool, again).is_alive()


def test_a_grant_that_nobody_repeats_is_finished_by_the_engine(pool: EngineRig) -> None:
    fail_once(pool, "grant.begin", Unavailable("the daemon is away"))
    with pytest.raises(Unavailable):
        pool.attach("a")
    assert V.ATTACHING is pool.volume(get(pool, "a").volume_id).state
    pool.pass_time_until(
        lambda: pool.volume(get(pool, "a").volume_id).state is V.ALLOCATED, what=pool.volumes
    )
    assert login(pool, get(pool, "a")).is_alive()


def test_one_attachment_that_cannot_be_finished_does_not_hold_up_the_others(
    pool: EngineRig,
) -> None:
    pool.add_pool("other", min_ready=1)
    blocked = pool.attach_and_wait("a")
    others = [pool.attach_and_wait("b"), pool.attach_and_wait("c", pool="other")]
    login(pool, blocked)
    assert blocked.connection is not None
    pool.fabric.stubborn.add(blocked.connection.target)
    for each in (blocked, *others):
        fail_once(pool, "revoke.begin", Unavailable("the daemon is away"))
        with pytest.raises(Unavailable):
            pool.release(each, force=True)

    pool.pass_time_until(lambda: gone(pool, "b") and gone(pool, "c"), what=pool.volumes)
    assert AttachmentState.DETACHING is get(pool, "a").state


def test_a_released_server_is_cut_off_before_the_volume_counts_as_released(
    pool: EngineRig,
) -> None:
    attached = pool.attach_and_wait("a")
    session = login(pool, attached)
    pool.release(attached, force=True)
    assert not session.is_alive()
    assert gone(pool, "a")
    assert V.RELEASED is pool.volume(attached.volume_id).state
    with pytest.raises(NotFound):
        login(pool, attached)
    with pytest.raises(NotFound):
        pool.engine.servers.get(ref=Ref(name="server-a"))


@pytest.mark.parametrize("step", ["revoke.begin", "revoke.end", "unexport.half", "unexport.end"])
def test_a_release_that_is_cut_off_is_finished_by_the_engine(pool: EngineRig, step: str) -> None:
    attached = pool.attach_and_wait("a")
    fail_once(pool, step, Unavailable("the daemon is away"))
    with pytest.raises(Unavailable):
        pool.release(attached)
    assert V.DETACHING is pool.volume(attached.volume_id).state
    assert AttachmentState.DETACHING is get(pool, "a").state
    with pytest.raises(FailedPrecondition, match="being released"):
        pool.attach("a")
    pool.pass_time_until(lambda: gone(pool, "a"), what=pool.volumes)
    assert V.RELEASED is pool.volume(attached.volume_id).state
    assert attached.connection is not None
    assert attached.connection.target not in pool.fabric.list()


def test_releasing_again_finishes_and_then_succeeds_for_ever(pool: EngineRig) -> None:
    attached = pool.attach_and_wait("a")
    fail_once(pool, "unexport.begin", Unavailable("the daemon is away"))
    with pytest.raises(Unavailable):
        pool.release(attached)
    for _ in range(3):
        pool.release(attached)
    assert V.RELEASED is pool.volume(attached.volume_id).state
    assert 1 == len(pool.events("RELEASED"))


def test_a_busy_server_is_not_cut_off_unless_forced(pool: EngineRig) -> None:
    attached = pool.attach_and_wait("a")
    session = login(pool, attached)
    with pytest.raises(FailedPrecondition, match=r"server-a is using .*force") as refused:
        pool.release(attached)
    assert "SERVER_BUSY" == refused.value.reason
    assert session.is_alive()
    assert AttachmentState.ATTACHED is get(pool, "a").state
    pool.release(attached, force=True)
    assert not session.is_alive()


def test_force_detach_in_the_declaration_needs_no_force(pool: EngineRig) -> None:
    attached = pool.attach_and_wait("a", force_detach=True)
    session = login(pool, attached)
    pool.release(attached)
    assert not session.is_alive()


def test_what_is_still_being_attached_can_be_released(pool: EngineRig) -> None:
    fail_once(pool, "grant.end", Unavailable("the answer was lost"))
    with pytest.raises(Unavailable):
        pool.attach("a")
    attached = get(pool, "a")
    assert V.ATTACHING is pool.volume(attached.volume_id).state
    pool.release(attached)
    assert V.RELEASED is pool.volume(attached.volume_id).state


def test_a_waiter_leaves_the_queue_by_release_or_by_not_asking(web: EngineRig) -> None:
    web.add_pool(min_ready=0, max_replicas=1)
    web.attach_and_wait("a")
    waiting = [web.attach(name) for name in ("b", "c", "d")]
    assert [1, 2, 3] == [each.place for each in waiting]
    web.release(waiting[0])
    assert 1 == web.attach("c").place
    web.clock.advance(20)
    web.attach("d")
    web.clock.advance(20)
    assert 1 == web.attach("d").place
    web.wake()
    web.wait_for(lambda: gone(web, "c"), what=web.events)
    assert ["attachment/c"] == [event.subject for event in web.events("WAIT_EXPIRED")]
    with pytest.raises(NotFound):
        web.engine.servers.get(ref=Ref(name="server-c"))


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", "b"), ("pool", "other"), ("server", "s"), ("server_selector", {"a": "b"})],
)
def test_what_a_volume_is_bound_to_cannot_change(
    pool: EngineRig, field: str, value: object
) -> None:
    attached = pool.attach_and_wait("a")
    with pytest.raises(InvalidArgument) as refused:
        update(pool, attached, **{field: value})
    assert [field] == [violation.field for violation in refused.value.violations]


def test_a_slot_of_an_image_without_writable_portion_is_reused_without_a_scrub(
    web: EngineRig, tmp_path: Path
) -> None:
    web.add_image("tools", writable=None, read_only=web.portion("tools-ro", fill=b"tools"))
    web.add_pool(
        "tools", master_image="tools", min_ready=1, max_replicas=1, scrub=ScrubPolicy(threshold=1)
    )
    first = web.attach_and_wait("a", pool="tools")
    assert first.connection is not None
    assert [PortionRole.READ_ONLY] == [volume.role for volume in first.connection.volumes]
    web.release(first)
    second = web.attach_and_wait("b", pool="tools")
    assert (first.volume_id, 2) == (second.volume_id, second.volume_generation)
    assert second.connection is not None
    assert first.connection.target != second.connection.target
    assert [] == web.runs()
    assert login(web, second).is_alive()


def test_attachments_are_listed_by_pool_server_and_prefix_page_by_page(pool: EngineRig) -> None:
    pool.add_pool("other", min_ready=1)
    for name in ("a1", "a2", "b1"):
        pool.attach_and_wait(name)
    pool.attach_and_wait("a_x", pool="other")

    def names(page: PageRequest, **filters: str) -> list[str]:
        found, _token = pool.engine.attachments.list(page=page, **filters)
        return [each.spec.name for each in found]

    assert ["a1", "a2", "b1", "a_x"] == names(PageRequest())
    assert ["a1", "a2", "a_x"] == names(PageRequest(name_prefix="a"))
    assert ["a_x"] == names(PageRequest(name_prefix="a_"))
    assert ["a_x"] == names(PageRequest(), pool="other")
    assert ["a2"] == names(PageRequest(), server="server-a2")
    _found, token = pool.engine.attachments.list(page=PageRequest(size=3))
    assert ["a_x"] == names(PageRequest(token=token))
