"""A release can be undone, and an attachment resumed, while the volume is released; by its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from clonepool.backends.memory import MemoryBackend
from clonepool.domain.model import Attachment, Ref, ScrubPolicy, ServerSpec, SystemUser
from clonepool.domain.states import (
    AttachmentState,
    ScrubMethod,
    SystemUserKind,
    VolumeState,
)
from clonepool.errors import (
    AlreadyExists,
    ClonepoolError,
    FailedPrecondition,
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from clonepool.testing.engines import USER, EngineRig

V = VolumeState
OTHER = SystemUser(name="acme", kind=SystemUserKind.APPLICATION)
KEEP = ScrubPolicy(threshold=99)
DAY = 86400.0


def write(rig: EngineRig, attached: Attachment, data: bytes) -> None:
    assert isinstance(rig.storage, MemoryBackend)
    name = rig.volume(attached.volume_id).object_name
    rig.storage.open(name=name).write_at(0, data)


def seen(rig: EngineRig, attached: Attachment, length: int) -> bytes:
    """What the server, which is let in, finds at the start of its volume."""
    assert attached.connection is not None
    rig.fabric.login(
        target=attached.connection.target,
        initiator=f"iqn.2026-01.test:{attached.spec.name}",
        chap=rig.engine.attachments.get(ref=Ref(id=attached.id)).chap,
    )
    name = rig.volume(attached.volume_id).object_name
    return rig.storage.read(name=name, offset=0, length=length)


def undo(rig: EngineRig, attachment: str = "", *, volume_id: str = "") -> Attachment:
    return rig.engine.attachments.undo_release(attachment=attachment, volume_id=volume_id)


@pytest.fixture
def released(web: EngineRig) -> Attachment:
    web.add_pool(min_ready=1, scrub=KEEP)
    attached = web.attach_and_wait("a")
    write(web, attached, b"of acme")
    web.wait_ready(1)
    web.release(attached)
    return attached


WAYS: list[Callable[[EngineRig, Attachment], Attachment]] = [
    lambda rig, was: undo(rig, was.spec.name),
    lambda rig, was: undo(rig, was.id),
    lambda rig, was: undo(rig, volume_id=was.volume_id),
]


@pytest.mark.parametrize("way", WAYS)
def test_an_undone_release_gives_the_attachment_back_as_it_was(
    web: EngineRig, released: Attachment, way: Callable[[EngineRig, Attachment], Attachment]
) -> None:
    web.update_image(writable=web.portion("second", fill=b"silver"))
    chap = released.chap
    back = way(web, released)
    for name in ("id", "volume_id", "volume_generation", "image_version", "allocated_at", "spec"):
        assert getattr(released, name) == getattr(back, name), name
    assert AttachmentState.ATTACHED is back.state
    assert chap == back.chap, "the server logs in with what it has"
    assert b"of acme" == seen(web, back, 7)
    web.wait_for(lambda: web.volume(back.volume_id).state is V.ALLOCATED, what=web.volumes)
    assert USER == web.engine.servers.get(ref=Ref(name="server-a")).system_user


def test_an_undone_release_is_told_with_how_long_it_was(
    web: EngineRig, released: Attachment
) -> None:
    web.advance(14 * 60)
    undo(web, "a")
    assert "resumes the volume released 14m" in web.wait_event("RELEASE_UNDONE").message


def test_undone_twice_is_undone_once(web: EngineRig, released: Attachment) -> None:
    assert undo(web, "a") == undo(web, "a") == undo(web, volume_id=released.volume_id)
    assert 1 == len(web.events("RELEASE_UNDONE"))


def test_a_refusal_gives_the_volume_back_but_never_from_under_its_server(
    web: EngineRig, released: Attachment
) -> None:
    refuses = True

    def refuse(step: str) -> None:
        if refuses and step == "grant.begin":
            raise FailedPrecondition("the daemon has no room for another account")

    web.fabric.fault = refuse
    refusal(FailedPrecondition, lambda: undo(web, "a"))
    assert V.RELEASED is web.volume(released.volume_id).state
    refuses = False
    undo(web, "a")
    web.wait_for(lambda: web.volume(released.volume_id).state is V.ALLOCATED, what=web.volumes)
    refuses = True
    refusal(FailedPrecondition, lambda: undo(web, "a"))
    assert V.ALLOCATED is web.volume(released.volume_id).state


def test_undone_and_released_it_can_be_undone_again(web: EngineRig, released: Attachment) -> None:
    web.release(undo(web, "a"))
    assert released.volume_id == undo(web, "a").volume_id


def test_after_a_crash_the_undone_release_stands(web: EngineRig, released: Attachment) -> None:
    undo(web, "a")
    web.reopen()
    held = web.engine.attachments.get(ref=Ref(name="a"))
    assert (released.id, released.volume_id) == (held.id, held.volume_id)
    assert b"of acme" == seen(web, held, 7)


def test_a_crash_before_the_grant_is_made_good(web: EngineRig, released: Attachment) -> None:
    def dies(step: str) -> None:
        if step == "grant.begin":
            raise Unavailable("the daemon is away")

    web.fabric.fault = dies
    with pytest.raises(Unavailable):
        undo(web, "a")
    web.fabric.fault = lambda _step: None
    web.pass_time_until(
        lambda: web.volume(released.volume_id).state is V.ALLOCATED, what=web.volumes
    )
    held = web.engine.attachments.get(ref=Ref(name="a"))
    assert b"of acme" == seen(web, held, 7)


def refusal(kind: type[ClonepoolError], call: Callable[[], object]) -> str:
    with pytest.raises(kind) as refused:
        call()
    return str(refused.value)


def test_what_was_never_released_or_is_scrubbed_cant_come_back(
    web: EngineRig, released: Attachment
) -> None:
    assert "was not released" in refusal(NotFound, lambda: undo(web, "nobody"))
    held = web.attach_and_wait("b")
    assert "nothing to undo" in refusal(FailedPrecondition, lambda: undo(web, "b"))
    assert "nothing to undo" in refusal(
        FailedPrecondition, lambda: undo(web, volume_id=held.volume_id)
    )
    web.engine.scrub.start(pool="web")
    web.wait_runs_over()
    assert "is scrubbed by now" in refusal(NotFound, lambda: undo(web, "a"))
    assert "is scrubbed by now" in refusal(
        NotFound, lambda: undo(web, volume_id=released.volume_id)
    )


def test_a_name_that_is_taken_again_is_said_with_the_way_out(
    web: EngineRig, released: Attachment
) -> None:
    again = web.attach_and_wait("a")
    assert again.volume_id != released.volume_id
    said = refusal(AlreadyExists, lambda: undo(web, volume_id=released.volume_id))
    assert "clonepool release a" in said
    web.release(again)
    assert again.volume_id == undo(web, "a").volume_id, "by name, the last one comes back"


def test_a_deleted_pool_gives_nothing_back(web: EngineRig, released: Attachment) -> None:
    web.engine.pools.delete(pool_id=web.pool().id)
    with pytest.raises((FailedPrecondition, NotFound)):
        undo(web, "a")


def test_a_server_that_serves_another_is_not_given_it(rig: EngineRig) -> None:
    rig.add_image(system_user=None)
    rig.add_pool(min_ready=1, scrub=KEEP)
    spec = ServerSpec(name="host", initiator="iqn.2026-01.test:host")
    rig.engine.servers.create(spec=spec, token="t")
    attached = rig.attach_and_wait("a", server="host", system_user=USER)
    rig.release(attached)
    other = rig.attach_and_wait("b", server="host", system_user=OTHER)
    assert "release those first" in refusal(FailedPrecondition, lambda: undo(rig, "a"))
    rig.release(other)
    rig.engine.servers.delete(server_id=rig.engine.servers.get(ref=Ref(name="host")).id)
    assert "was deleted since" in refusal(FailedPrecondition, lambda: undo(rig, "a"))
    assert V.RELEASED is rig.volume(attached.volume_id).state


def test_a_full_pool_makes_room_by_a_ready_replica(web: EngineRig) -> None:
    web.add_pool(min_ready=1, max_replicas=2, scrub=KEEP)
    first, _second = web.attach_and_wait("a"), web.attach_and_wait("b")
    web.release(first)
    web.wait_ready(1)
    assert first.volume_id == undo(web, "a").volume_id
    web.wait_for(lambda: web.count(V.READY) + web.count(V.DELETING) == 0, what=web.volumes)
    assert {V.ALLOCATED: 2} == web.pool().counts.by_state


def test_a_full_pool_without_a_ready_replica_refuses(web: EngineRig) -> None:
    web.add_pool(min_ready=0, max_replicas=1, scrub=KEEP)
    web.release(web.attach_and_wait("a"))
    web.attach_and_wait("b")
    said = refusal(ResourceExhausted, lambda: undo(web, "a"))
    assert "is at max_replicas" in said


def test_an_open_undo_window_counts_to_no_trigger(web: EngineRig) -> None:
    web.add_pool(min_ready=1, scrub=ScrubPolicy(threshold=1, undo_window_s=3600, max_bytes=1))
    web.release(web.attach_and_wait("a"))
    web.wait_ready(1)
    web.advance(3500)
    web.wait_ready(1)
    assert (1, []) == (web.count(V.RELEASED), web.runs())
    assert web.engine.scrub.start(pool="web") is None, "not even on demand"
    web.advance(200)
    (run,) = web.wait_runs_over()
    assert ("threshold", 1) == (run.trigger, run.volumes)


def test_only_what_is_past_its_window_is_scrubbed(web: EngineRig) -> None:
    web.add_pool(min_ready=1, scrub=ScrubPolicy(threshold=1, undo_window_s=3600))
    web.release(web.attach_and_wait("old"))
    web.advance(3000)
    young = web.attach_and_wait("young")
    web.release(young)
    web.advance(700)
    (run,) = web.wait_runs_over()
    assert 1 == run.volumes
    assert V.RELEASED is web.volume(young.volume_id).state


def test_the_window_closes_with_the_pool(web: EngineRig) -> None:
    """Nothing can come back into a pool that is no more."""
    pool = web.add_pool(min_ready=1, scrub=ScrubPolicy(undo_window_s=DAY))
    web.release(web.attach_and_wait("a"))
    web.engine.pools.delete(pool_id=pool.id)
    web.wait_for(lambda: not web.volumes(), what=web.volumes)


def resume(rig: EngineRig, name: str = "a", **changes: Any) -> Attachment:
    return rig.attach_and_wait(name, **{"resume_released": True, **changes})


def test_made_again_in_time_an_attachment_gets_its_own_volume_back(
    web: EngineRig, released: Attachment
) -> None:
    web.update_image(writable=web.portion("second", fill=b"silver"))
    web.wait_ready(1)
    web.advance(14 * 60)
    back = resume(web)
    assert back.id != released.id
    assert (released.volume_id, 1, 1) == (back.volume_id, back.volume_generation, 1)
    assert (1, True) == (back.image_version, back.warm)
    assert b"of acme" == seen(web, back, 7)
    assert "resumes the volume released 14m" in web.wait_event("RESUMED").message


def test_another_server_can_resume_it(web: EngineRig, released: Attachment) -> None:
    server = ServerSpec(name="other", initiator="iqn.2026-01.test:a")
    assert released.volume_id == resume(web, inline_server=server).volume_id


def test_without_asking_for_it_nothing_is_resumed(web: EngineRig, released: Attachment) -> None:
    assert web.attach_and_wait("a").volume_id != released.volume_id


def test_another_name_does_not_get_it(web: EngineRig, released: Attachment) -> None:
    assert resume(web, "b").volume_id != released.volume_id


def test_another_system_user_does_not_get_it(rig: EngineRig) -> None:
    """The same name, of the other kind, in the same pool of a shared image."""
    rig.add_image(system_user=None)
    rig.add_pool(min_ready=2, scrub=KEEP)
    was = rig.attach_and_wait("a", system_user=USER)
    rig.release(was)
    assert resume(rig, system_user=OTHER).volume_id != was.volume_id
    assert V.RELEASED is rig.volume(was.volume_id).state


def test_another_pool_does_not_give_it_nor_one_of_the_same_name(web: EngineRig) -> None:
    pool = web.add_pool(min_ready=1, scrub=KEEP)
    web.add_pool("two", min_ready=1, scrub=KEEP)
    was = web.attach_and_wait("a")
    web.release(was)
    other = resume(web, pool="two")
    assert other.volume_id != was.volume_id
    web.release(other)
    web.engine.pools.delete(pool_id=pool.id)
    web.add_pool(min_ready=1, scrub=KEEP)
    assert resume(web).volume_id != was.volume_id


def test_only_the_last_of_a_name_is_resumed(web: EngineRig, released: Attachment) -> None:
    second = web.attach_and_wait("a")
    web.release(second)
    back = resume(web)
    assert second.volume_id == back.volume_id
    web.engine.scrub.start(pool="web")
    web.wait_runs_over()
    web.release(back)
    assert second.volume_id == resume(web).volume_id


def test_when_the_last_is_scrubbed_an_earlier_one_is_not_resumed(
    web: EngineRig, released: Attachment
) -> None:
    second = web.attach_and_wait("a")
    web.release(second)
    state = web.engine._state
    state.write(
        lambda transaction: transaction.sql(
            "DELETE FROM released_attachment WHERE volume_id = ?", (second.volume_id,)
        )
    )
    assert resume(web).volume_id not in (released.volume_id, second.volume_id)


def test_once_scrubbed_it_starts_from_the_image(web: EngineRig, released: Attachment) -> None:
    web.engine.scrub.start(pool="web")
    web.wait_runs_over()
    back = resume(web)
    assert b"goldeng" == seen(web, back, 7)


def test_a_full_pool_resumes_by_giving_up_a_ready_replica(web: EngineRig) -> None:
    web.add_pool(min_ready=1, max_replicas=2, scrub=KEEP)
    first, _second = web.attach_and_wait("a"), web.attach_and_wait("b")
    web.release(first)
    web.wait_ready(1)
    assert first.volume_id == resume(web).volume_id
    web.wait_for(lambda: web.count(V.READY) + web.count(V.DELETING) == 0, what=web.volumes)
    assert {V.ALLOCATED: 2} == web.pool().counts.by_state


def test_who_waits_ahead_keeps_the_replica_that_is_meant_for_it(web: EngineRig) -> None:
    web.add_pool(min_ready=0, max_replicas=1, scrub=KEEP)
    was = web.attach_and_wait("a")
    web.release(was)
    blocker = web.attach_and_wait("b")
    assert AttachmentState.WAITING is web.attach("ahead").state
    assert AttachmentState.WAITING is web.attach("a", resume_released=True).state
    web.release(blocker)
    web.wait_for(lambda: web.count(V.READY) == 1, what=web.volumes)
    assert AttachmentState.WAITING is web.attach("a", resume_released=True).state
    assert web.attach("ahead").volume_id not in ("", was.volume_id)


def test_a_waiter_gets_its_own_volume_when_there_is_room(web: EngineRig) -> None:
    web.add_pool(min_ready=0, max_replicas=1, scrub=KEEP)
    was = web.attach_and_wait("a")
    web.release(was)
    blocker = web.attach_and_wait("b")
    assert AttachmentState.WAITING is web.attach("a", resume_released=True).state
    web.release(blocker)
    back = resume(web)
    assert (was.volume_id, False) == (back.volume_id, back.warm)
    assert back.resumed_release is not None


def test_down_at_night_and_up_in_the_morning(web: EngineRig) -> None:
    """A test environment with an undo window: destroyed, and there again with its data."""
    scrub = ScrubPolicy(threshold=1, undo_window_s=DAY / 2, method=ScrubMethod.ZERO)
    web.add_pool(min_ready=1, scrub=scrub)
    names = ("db", "app")
    held = {name: web.attach_and_wait(name) for name in names}
    for name in names:
        write(web, held[name], name.encode())
    web.release(*held.values())
    web.advance(10 * 3600)
    web.wait_ready(1)
    for name in names:
        back = resume(web, name)
        assert name.encode() == seen(web, back, len(name))
    web.advance(DAY)
    assert [] == web.runs()
