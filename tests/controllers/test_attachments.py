"""Attach, poll, change and release through a fabric that can fail."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from clonepool.domain.model import (
    Attachment,
    ChapSpec,
    PageRequest,
    Ref,
    ScrubPolicy,
    ServerSpec,
)
from clonepool.domain.states import (
    AttachmentState,
    ChapMode,
    PortionRole,
    VolumeState,
)
from clonepool.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unavailable,
)
from clonepool.fabrics.memory import MemorySession
from clonepool.testing.engines import EngineRig

V = VolumeState
SECRET = "opensesame4242"
GIVEN = ChapSpec(mode=ChapMode.GIVEN, username="acme", secret=SECRET)


@pytest.fixture
def pool(web: EngineRig) -> EngineRig:
    """A pool with two ready replicas of an image with both portions."""
    web.update_image(read_only=web.portion("ro", fill=b"shared"))
    web.add_pool(min_ready=2)
    return web


def login(rig: EngineRig, attached: Attachment, *, initiator: str = "") -> MemorySession:
    assert attached.connection is not None
    return rig.fabric.login(
        target=attached.connection.target,
        initiator=initiator or f"iqn.2026-01.test:{attached.spec.name}",
        chap=attached.chap,
    )


def get(rig: EngineRig, name: str) -> Attachment:
    return rig.engine.attachments.get(ref=Ref(name=name))


def update(rig: EngineRig, attached: Attachment, **changes: object) -> Attachment:
    spec = replace(get(rig, attached.spec.name).spec, **changes)
    return rig.engine.attachments.update(attachment_id=attached.id, spec=spec)


def fail_once(rig: EngineRig, step: str, error: BaseException) -> list[str]:
    """Fail at a fabric's step, once."""
    left = [step]

    def fail(at: str) -> None:
        if left and at == left[0]:
            left.clear()
            raise error

    rig.fabric.fault = fail
    return left


def gone(rig: EngineRig, name: str) -> bool:
    try:
        get(rig, name)
    except NotFound:
        return True
    return False


class Killed(BaseException):
    """The thread dies here, as with kill -9: nothing catches it."""


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
    pool.advance(60)
    pool.wait_for(
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

    def others_are_gone() -> bool:
        pool.advance(60)
        return gone(pool, "b") and gone(pool, "c")

    pool.wait_for(others_are_gone, what=pool.volumes)
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
    pool.advance(60)
    pool.wait_for(lambda: gone(pool, "a"), what=pool.volumes)
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


def test_a_given_account_is_what_the_server_logs_in_with(pool: EngineRig) -> None:
    attached = pool.attach("a", chap=GIVEN)
    assert attached.chap is not None
    assert ("acme", SECRET) == (attached.chap.username, attached.chap.secret)
    assert login(pool, attached).is_alive()


def test_a_generated_account_is_of_this_export_alone(pool: EngineRig) -> None:
    accounts = [pool.attach(name).chap for name in ("a", "b")]
    assert all(account is not None and 12 <= len(account.secret) <= 16 for account in accounts)
    assert 2 == len({account.username for account in accounts if account})
    assert 2 == len({account.secret for account in accounts if account})


def test_no_account_only_where_none_was_asked_for(pool: EngineRig) -> None:
    attached = pool.attach("a", chap=ChapSpec(mode=ChapMode.NONE))
    assert attached.chap is None
    assert login(pool, attached).is_alive()


def test_secrets_are_never_plain_on_the_disk(pool: EngineRig) -> None:
    """Neither in the database nor in its log, whole or as a plain hash of a guess."""
    given = pool.attach("a", chap=GIVEN)
    generated = pool.attach("b")
    update(pool, given, chap=replace(GIVEN, secret="opensesame4343"))
    assert generated.chap is not None
    kept = b"".join(
        path.read_bytes() for path in pool.settings.state_dir.iterdir() if path.is_file()
    )
    for secret in (SECRET, "opensesame4343", generated.chap.secret):
        assert secret.encode() not in kept
    assert b"acme" in kept, "the search works"


def test_listings_and_logs_show_no_secret(pool: EngineRig) -> None:
    attached = pool.attach("a", chap=GIVEN)
    listed, _token = pool.engine.attachments.list(page=PageRequest())
    assert [None] == [each.chap for each in listed]
    for shown in (repr(attached), repr(listed), repr(pool.events())):
        assert SECRET not in shown


def test_changed_chap_is_granted_on_the_same_volume(pool: EngineRig) -> None:
    attached = pool.attach_and_wait("a")
    changed = update(pool, attached, chap=GIVEN)
    assert attached.volume_id == changed.volume_id
    assert login(pool, changed).is_alive()
    with pytest.raises(PermissionDenied):
        login(pool, attached)
    assert GIVEN.username == get(pool, "a").spec.chap.username


def test_an_unchanged_update_keeps_secret_and_session(pool: EngineRig) -> None:
    attached = pool.attach_and_wait("a")
    session = login(pool, attached)
    updated = update(pool, attached, force_detach=True)
    assert attached.chap == updated.chap
    assert session.is_alive()
    assert get(pool, "a").spec.force_detach


def test_chap_of_a_busy_server_changes_only_by_force(pool: EngineRig) -> None:
    attached = pool.attach_and_wait("a")
    session = login(pool, attached)
    with pytest.raises(FailedPrecondition):
        update(pool, attached, chap=GIVEN)
    assert session.is_alive()
    update(pool, attached, chap=GIVEN, force_detach=True)
    assert not session.is_alive()


def test_a_change_of_chap_that_was_cut_off_is_finished_by_asking_again(pool: EngineRig) -> None:
    attached = pool.attach_and_wait("a")
    fail_once(pool, "grant.begin", Unavailable("the daemon is away"))
    with pytest.raises(Unavailable):
        update(pool, attached, chap=GIVEN)
    spec = replace(attached.spec, chap=GIVEN)
    changed = pool.engine.attachments.update(attachment_id=attached.id, spec=spec)
    assert login(pool, changed).is_alive()


def test_after_an_update_the_same_declaration_is_the_same_attachment(pool: EngineRig) -> None:
    attached = pool.attach_and_wait("a")
    update(pool, attached, chap=GIVEN)
    assert attached.id == pool.attach("a", chap=GIVEN).id
    with pytest.raises(AlreadyExists):
        pool.attach("a")


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


def add_server(rig: EngineRig, name: str = "s1") -> str:
    spec = ServerSpec(name=name, initiator=f"iqn.2026-01.test:{name}")
    return rig.engine.servers.create(spec=spec, token="t").id


def change_initiator(
    rig: EngineRig, server_id: str, initiator: str, *, force: bool = False
) -> None:
    spec = replace(rig.engine.servers.get(ref=Ref(id=server_id)).spec, initiator=initiator)
    rig.engine.servers.update(server_id=server_id, spec=spec, force=force)


NEW_NAME = "iqn.2026-01.test:new"


def test_a_servers_new_initiator_is_admitted_to_all_it_holds_and_the_old_is_not(
    pool: EngineRig,
) -> None:
    server_id = add_server(pool)
    attached = [pool.attach_and_wait(name, server="s1") for name in ("a", "b")]
    change_initiator(pool, server_id, NEW_NAME)
    for each in attached:
        assert login(pool, each, initiator=NEW_NAME).is_alive()
        with pytest.raises(NotFound):
            login(pool, each, initiator="iqn.2026-01.test:s1")


def test_a_busy_servers_initiator_changes_only_by_force(pool: EngineRig) -> None:
    server_id = add_server(pool)
    attached = pool.attach_and_wait("a", server="s1")
    session = login(pool, attached, initiator="iqn.2026-01.test:s1")
    with pytest.raises(FailedPrecondition, match="using"):
        change_initiator(pool, server_id, NEW_NAME)
    assert session.is_alive()
    change_initiator(pool, server_id, NEW_NAME, force=True)
    assert not session.is_alive()


def test_a_change_of_initiator_that_was_cut_off_is_finished_by_asking_again(
    pool: EngineRig,
) -> None:
    server_id = add_server(pool)
    attached = [pool.attach_and_wait(name, server="s1") for name in ("a", "b")]
    fail_once(pool, "grant.begin", Unavailable("the daemon is away"))
    with pytest.raises(Unavailable):
        change_initiator(pool, server_id, NEW_NAME)
    change_initiator(pool, server_id, NEW_NAME)
    for each in attached:
        assert login(pool, each, initiator=NEW_NAME).is_alive()


def test_an_initiator_in_use_is_not_taken_away(pool: EngineRig) -> None:
    server_id = add_server(pool)
    attached = pool.attach_and_wait("a", server="s1")
    with pytest.raises(FailedPrecondition, match=r"attachments \(a\)"):
        change_initiator(pool, server_id, "")
    pool.release(attached)
    change_initiator(pool, server_id, "")


def test_a_lost_target_is_made_again_by_asking(pool: EngineRig) -> None:
    """The daemon restarted a moment ago and nobody noticed yet."""
    attached = pool.attach_and_wait("a")
    assert attached.connection is not None
    pool.fabric.unexport(attached.connection.target)
    assert login(pool, pool.attach("a")).is_alive()


def test_a_fabric_that_restarts_soon_after_its_first_use_is_noticed_too(pool: EngineRig) -> None:
    attached = pool.attach_and_wait("a")
    pool.wait_ready(2)
    before = pool.fabric.list()
    pool.fabric.restart()
    pool.wait_for(lambda: pool.fabric.list() == before, what=pool.fabric.list)
    assert login(pool, attached).is_alive()


def test_a_fabric_that_restarts_gets_all_exports_and_grants_again(pool: EngineRig) -> None:
    attached = pool.attach_and_wait("a")
    pool.wait_ready(2)
    pool.reopen()
    before = pool.fabric.list()
    pool.fabric.restart()
    assert frozenset() == pool.fabric.list()
    pool.wait_event("EXPORTS_REMADE")
    assert before == pool.fabric.list()
    assert login(pool, attached).is_alive()
    for volume in pool.volumes(state="ready"):
        with pytest.raises(NotFound):
            pool.fabric.login(target=volume.target, initiator="iqn.2026-01.test:a")


def on_export_of(rig: EngineRig, target: str, act: Callable[[], None]) -> None:
    """Act once when a target is being exported."""
    real, left = rig.fabric.export, [target]

    def export(spec):
        if left and spec.target == left[0]:
            left.clear()
            act()
        real(spec)

    rig.fabric.export = export  # type: ignore[method-assign]


def test_what_is_released_while_a_fabric_comes_back_is_not_exported_again(
    pool: EngineRig,
) -> None:
    """Its last user must not be let in once more."""
    attached = [pool.attach_and_wait(name) for name in ("a", "b")]
    pool.wait_ready(2)
    first = min(pool.volumes(), key=lambda volume: volume.created_at)
    others = [each for each in attached if each.volume_id != first.id]
    pool.reopen()
    on_export_of(pool, first.target, lambda: pool.release(*others))
    pool.fabric.restart()
    pool.wait_event("EXPORTS_REMADE")
    for each in others:
        assert each.connection is not None
        assert V.RELEASED is pool.volume(each.volume_id).state
        assert each.connection.target not in pool.fabric.list()


def test_what_is_given_up_while_a_fabric_comes_back_is_not_left_exported(pool: EngineRig) -> None:
    pool.update_pool(min_ready=4)
    pool.wait_ready(4)
    first = min(pool.volumes(), key=lambda volume: volume.created_at)

    def give_up() -> None:
        pool.update_pool(min_ready=0)
        pool.wait_for(lambda: not pool.volumes(), what=pool.volumes)

    pool.reopen()
    on_export_of(pool, first.target, give_up)
    pool.fabric.restart()
    pool.wait_event("EXPORTS_REMADE")
    assert frozenset() == pool.fabric.list()


def test_one_volume_that_cannot_be_exported_does_not_keep_the_others_away(
    pool: EngineRig,
) -> None:
    attached = [pool.attach_and_wait(name) for name in ("a", "b")]
    pool.wait_ready(2)
    pool.reopen()
    pool.storage.delete(name=pool.volume(attached[0].volume_id).object_name)
    pool.fabric.restart()
    event = pool.wait_event("EXPORT_FAILED")
    assert f"volume/{attached[0].volume_id}" == event.subject
    pool.wait_event("EXPORTS_REMADE")
    assert login(pool, attached[1]).is_alive()
    assert 3 == len(pool.fabric.list())


def test_a_fabric_that_is_away_is_told_of_once_and_hides_no_attachment(pool: EngineRig) -> None:
    pool.attach_and_wait("a")
    pool.fabric.away = True
    pool.wait_event("FABRIC_AWAY")
    listed, _token = pool.engine.attachments.list(page=PageRequest())
    assert ["a"] == [each.spec.name for each in listed]
    assert 1 == len(pool.events("FABRIC_AWAY"))
    facts = pool.engine.info().fabrics[0]
    assert "away" in facts.error
    pool.fabric.away = False
    pool.wait_event("EXPORTS_REMADE")


def test_an_account_name_of_another_export_is_refused_and_nothing_is_left(
    pool: EngineRig,
) -> None:
    pool.attach("a", chap=GIVEN)
    with pytest.raises(AlreadyExists, match="acme"):
        pool.attach("b", chap=GIVEN)
    assert gone(pool, "b")


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
