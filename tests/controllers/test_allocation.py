"""Who gets which volume, on which server, and who has to wait: no grant is interesting here."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from clonepool.domain.model import (
    Attachment,
    PageRequest,
    Ref,
    ScrubPolicy,
    Server,
    ServerSpec,
    SystemUser,
)
from clonepool.domain.states import AttachmentState, SystemUserKind, VolumeState, WhenEmpty
from clonepool.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
)
from clonepool.testing.engines import USER, EngineRig

V = VolumeState
OTHER = SystemUser(name="globex", kind=SystemUserKind.CUSTOMER)


def add_server(rig: EngineRig, name: str, *, initiator: bool = True, **labels: str) -> str:
    iqn = f"iqn.2026-01.test:{name}" if initiator else ""
    spec = ServerSpec(name=name, initiator=iqn, labels=labels)
    return rig.engine.servers.create(spec=spec, token="t").id


def server(rig: EngineRig, name: str) -> Server:
    return rig.engine.servers.get(ref=Ref(name=name))


def create(rig: EngineRig, name: str, *, token: str, **changes: object) -> Attachment:
    return rig.engine.attachments.create(spec=rig.spec(name, **changes), token=token)


@pytest.fixture
def pool(web: EngineRig) -> EngineRig:
    web.add_pool(min_ready=3)
    return web


@pytest.fixture
def shared(rig: EngineRig) -> EngineRig:
    """A pool of a shared image."""
    rig.add_image(system_user=None)
    rig.add_pool(min_ready=3)
    return rig


@pytest.fixture
def full(web: EngineRig) -> EngineRig:
    """A pool whose two replicas are in use; waiters stay as long as they like."""
    web.add_pool(min_ready=0, max_replicas=2)
    web.engine.attachments.lease_s = 1000
    web.attach_and_wait("x")
    web.attach_and_wait("y")
    return web


def test_the_oldest_ready_replica_is_taken_first(pool: EngineRig) -> None:
    by_age = sorted(pool.volumes(state="ready"), key=lambda volume: volume.changed_at)
    taken = [pool.attach(name).volume_id for name in ("a", "b", "c")]
    assert [volume.id for volume in by_age] == taken


def test_only_the_current_version_is_handed_out(pool: EngineRig) -> None:
    """Whatever the rollout has replaced by then."""
    pool.update_image(writable=pool.portion("second"))
    assert {2} == {pool.attach_and_wait(name).image_version for name in ("a", "b", "c", "d")}


def test_another_caller_is_refused_the_name_with_the_id_to_import(pool: EngineRig) -> None:
    attached = pool.attach("a")
    with pytest.raises(AlreadyExists, match="clonepool release a") as refused:
        create(pool, "a", token="another")
    assert {"id": attached.id, "same_token": "false"} == refused.value.metadata


def test_the_same_caller_with_other_properties_is_told_that_it_is_its_own(pool: EngineRig) -> None:
    attached = pool.attach("a")
    with pytest.raises(AlreadyExists, match="other properties") as refused:
        pool.attach("a", force_detach=True)
    assert {"id": attached.id, "same_token": "true"} == refused.value.metadata


def test_a_pool_that_is_not_there_is_named(pool: EngineRig) -> None:
    with pytest.raises(NotFound, match="no pool nowhere"):
        pool.attach("a", pool="nowhere")


def test_who_comes_first_is_served_first(full: EngineRig) -> None:
    waiting = [full.attach(name) for name in ("a", "b", "c")]
    assert [1, 2, 3] == [each.place for each in waiting]
    full.update_pool(max_replicas=4)
    full.wait_count(V.READY, 2)
    assert AttachmentState.WAITING is full.attach("c").state, "the third must not overtake"
    assert AttachmentState.WAITING is full.attach("newcomer").state
    assert AttachmentState.ATTACHED is full.attach("b").state
    assert AttachmentState.ATTACHED is full.attach("a").state
    assert (1, 2) == (full.attach("c").place, full.attach("newcomer").place)


def test_a_waiter_that_stopped_asking_holds_nobody_up(full: EngineRig) -> None:
    full.engine.attachments.lease_s = 30
    full.attach("a")
    full.clock.advance(31)
    full.engine.attachments.lease_s = 1000
    second = full.attach("b")
    assert 1 == second.place
    full.update_pool(max_replicas=3)
    full.wait_for(lambda: full.attach("b").state is AttachmentState.ATTACHED, what=full.pool)


def test_who_waited_was_not_served_warm(full: EngineRig) -> None:
    full.attach("a")
    full.update_pool(max_replicas=3)
    assert not full.attach_and_wait("a").warm


def test_who_need_not_wait_is_refused_with_figures(web: EngineRig) -> None:
    web.add_pool(min_ready=1, max_replicas=1, scrub=ScrubPolicy(threshold=9))
    attached = web.attach_and_wait("a")
    web.update_pool(when_empty=WhenEmpty.FAIL)
    with pytest.raises(ResourceExhausted, match="0 being made, 0 released") as refused:
        web.attach("b")
    assert {"allocated": "1"} == refused.value.metadata
    assert refused.value.retry_after_s
    web.close()
    web.open(start=False)
    web.release(attached)
    with pytest.raises(ResourceExhausted, match=r"1 released.*clonepool scrub run web"):
        web.attach("b")
    with pytest.raises(NotFound):
        web.engine.attachments.get(ref=Ref(name="b"))
    with pytest.raises(NotFound):
        server(web, "server-b")


def test_fifty_replicas_for_sixty_four_callers(web: EngineRig) -> None:
    """Fifty are attached, each to a volume of its own, fourteen wait in order."""
    web.add_pool(min_ready=50, max_replicas=50)
    web.engine.attachments.lease_s = 1e6
    with ThreadPoolExecutor(64) as threads:
        found = list(threads.map(web.attach, [f"a{number:02}" for number in range(64)]))
    attached = [each for each in found if each.state is AttachmentState.ATTACHED]
    waiting = [each for each in found if each.state is AttachmentState.WAITING]
    assert (50, 14) == (len(attached), len(waiting))
    assert 50 == len({each.volume_id for each in attached})
    assert list(range(1, 15)) == sorted(web.attach(each.spec.name).place for each in waiting)
    web.wait_count(V.ALLOCATED, 50)


def test_a_shared_image_needs_to_know_the_system_user(shared: EngineRig) -> None:
    with pytest.raises(InvalidArgument, match="shared") as refused:
        shared.attach("a")
    assert ["system_user"] == [violation.field for violation in refused.value.violations]
    assert USER == shared.attach("a", system_user=USER).system_user
    assert OTHER == shared.attach("b", system_user=OTHER).system_user


def test_an_image_of_one_system_user_serves_no_other(pool: EngineRig) -> None:
    assert USER == pool.attach("a").system_user
    assert USER == pool.attach("b", system_user=USER).system_user
    for foreign in (OTHER, SystemUser(name=USER.name, kind=SystemUserKind.APPLICATION)):
        with pytest.raises(FailedPrecondition, match="it can't serve"):
            pool.attach("c", system_user=foreign)


def test_a_server_serves_one_system_user_at_a_time(shared: EngineRig) -> None:
    add_server(shared, "s1")
    for name in ("a", "b"):
        shared.attach_and_wait(name, server="s1", system_user=USER)
    assert (USER, 2) == (server(shared, "s1").system_user, server(shared, "s1").attachments)
    with pytest.raises(FailedPrecondition, match=r"serves customer acme \(attachments a, b\)"):
        shared.attach("c", server="s1", system_user=OTHER)
    shared.release(shared.attach("a", server="s1", system_user=USER))
    with pytest.raises(FailedPrecondition, match=r"\(attachments b\)"):
        shared.attach("c", server="s1", system_user=OTHER)
    shared.release(shared.attach("b", server="s1", system_user=USER))
    assert server(shared, "s1").system_user is None
    assert OTHER == shared.attach("c", server="s1", system_user=OTHER).system_user


def test_a_server_that_waits_is_taken_already(full: EngineRig) -> None:
    add_server(full, "s1")
    full.attach("a", server="s1")
    assert USER == server(full, "s1").system_user
    with pytest.raises(FailedPrecondition, match=r"attachments \(a\)"):
        full.engine.servers.delete(server_id=server(full, "s1").id)


def test_a_server_without_initiator_is_refused_where_the_fabric_needs_one(pool: EngineRig) -> None:
    add_server(pool, "s1", initiator=False)
    with pytest.raises(FailedPrecondition, match="has no initiator"):
        pool.attach("a", server="s1")
    with pytest.raises(NotFound, match="no server s2"):
        pool.attach("a", server="s2")


def test_an_inline_server_lives_from_its_first_attachment_to_its_last(pool: EngineRig) -> None:
    inline = ServerSpec(name="s1", initiator="iqn.2026-01.test:s1", labels={"a": "b"})
    first = pool.attach_and_wait("a", inline_server=inline)
    second = pool.attach_and_wait("b", inline_server=inline)
    assert first.server_id == second.server_id
    assert server(pool, "s1").inline
    pool.release(first)
    assert 1 == server(pool, "s1").attachments
    pool.release(second)
    with pytest.raises(NotFound):
        server(pool, "s1")


def test_an_inline_server_does_not_take_over_a_declared_one(pool: EngineRig) -> None:
    declared = add_server(pool, "s1")
    inline = ServerSpec(name="s1", initiator="iqn.2026-01.test:s1")
    with pytest.raises(AlreadyExists, match="name it by `server`") as refused:
        pool.attach("a", inline_server=inline)
    assert declared == refused.value.metadata["id"]


def test_an_initiator_belongs_to_one_server(pool: EngineRig) -> None:
    add_server(pool, "s1")
    thief = ServerSpec(name="s2", initiator="iqn.2026-01.test:s1")
    with pytest.raises(AlreadyExists, match="belongs to server s1"):
        pool.attach("a", inline_server=thief)
    with pytest.raises(AlreadyExists, match="belongs to server s1"):
        pool.engine.servers.create(spec=thief, token="t")
    other = add_server(pool, "s3")
    spec = ServerSpec(name="s3", initiator="iqn.2026-01.test:s1")
    with pytest.raises(AlreadyExists, match="belongs to server s1"):
        pool.engine.servers.update(server_id=other, spec=spec, force=False)


def test_a_selector_picks_a_free_server_with_all_labels(pool: EngineRig) -> None:
    add_server(pool, "no-rack", zone="z1")
    add_server(pool, "no-initiator", initiator=False, zone="z1", rack="r1")
    add_server(pool, "busy", zone="z1", rack="r1")
    pool.attach_and_wait("a", server="busy")
    add_server(pool, "older", zone="z1", rack="r1", more="x")
    add_server(pool, "younger", zone="z1", rack="r1")
    labels = {"zone": "z1", "rack": "r1"}
    assert "older" == pool.attach("b", server_selector=labels).server_name
    assert "older" == pool.attach("b", server_selector=labels).server_name, "asked again"
    assert "younger" == pool.attach("c", server_selector=labels).server_name
    with pytest.raises(FailedPrecondition, match="no free server has the labels") as refused:
        pool.attach("d", server_selector=labels)
    assert "NO_SERVER_MATCHES" == refused.value.reason


def test_labels_are_compared_whole(pool: EngineRig) -> None:
    """No pattern, no prefix, no piece of SQL or JSON."""
    add_server(pool, "s1", zone="z10", note='quo"te')
    for labels in ({"zone": "z1"}, {"zone": "%"}, {"Zone": "z10"}, {"note": "' OR 1=1 --"}):
        with pytest.raises(FailedPrecondition):
            pool.attach("a", server_selector=labels)
    assert "s1" == pool.attach("a", server_selector={"note": 'quo"te'}).server_name


def test_declaring_a_server_again_is_the_same_server(rig: EngineRig) -> None:
    first = add_server(rig, "s1", zone="z1")
    assert first == add_server(rig, "s1", zone="z1")
    with pytest.raises(AlreadyExists) as refused:
        add_server(rig, "s1", zone="z2")
    assert {"id": first, "same_token": "true"} == refused.value.metadata


def test_deleting_a_server_that_is_gone_succeeds(rig: EngineRig) -> None:
    server_id = add_server(rig, "s1")
    for _ in range(2):
        rig.engine.servers.delete(server_id=server_id)
    with pytest.raises(NotFound):
        rig.engine.servers.get(ref=Ref(id=server_id))


def test_servers_are_listed_by_name_page_by_page(rig: EngineRig) -> None:
    for name in ("b1", "a1", "a2"):
        add_server(rig, name)
    first, token = rig.engine.servers.list(page=PageRequest(size=2))
    rest, end = rig.engine.servers.list(page=PageRequest(size=2, token=token))
    assert ["a1", "a2", "b1"] == [each.spec.name for each in (*first, *rest)]
    assert "" == end
    some, _token = rig.engine.servers.list(page=PageRequest(name_prefix="b"))
    assert ["b1"] == [each.spec.name for each in some]


def test_a_pool_in_use_is_not_deleted(full: EngineRig) -> None:
    full.attach("waits")
    with pytest.raises(FailedPrecondition, match=r"attachments \(waits, x, y\)"):
        full.engine.pools.delete(pool_id=full.pool().id)
