"""Servers that an attachment makes and takes along when it goes."""

from __future__ import annotations

import pytest

from clonepool.domain.model import AttachmentSpec, Ref, ServerSpec, SystemUser
from clonepool.domain.states import SystemUserKind, WhenEmpty
from clonepool.errors import AlreadyExists, FailedPrecondition, NotFound, ResourceExhausted
from clonepool.testing.engines import USER, EngineRig


def attach(rig: EngineRig, name: str, server: ServerSpec) -> str:
    spec = AttachmentSpec(name=name, pool="web", inline_server=server)
    return rig.engine.attachments.create(spec=spec, token=name).id


@pytest.fixture
def pool(web: EngineRig) -> EngineRig:
    web.add_pool(min_ready=3, max_replicas=3)
    return web


def test_it_serves_the_attachments_user_from_the_start(pool: EngineRig) -> None:
    attach(pool, "a", ServerSpec(name="s", initiator="iqn.2026-01.test:s"))
    made = pool.engine.servers.get(ref=Ref(name="s"))
    assert (True, USER, 1) == (made.inline, made.system_user, made.attachments)


def test_another_attachment_of_the_same_declaration_shares_it(pool: EngineRig) -> None:
    server = ServerSpec(name="s", initiator="iqn.2026-01.test:s", labels={"rack": "1"})
    attach(pool, "a", server)
    attach(pool, "b", server)
    assert 2 == pool.engine.servers.get(ref=Ref(name="s")).attachments


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (ServerSpec(name="s", initiator="iqn.2026-01.test:other"), "NAME_TAKEN"),
        (
            ServerSpec(name="s", initiator="iqn.2026-01.test:s", labels={"rack": "2"}),
            "NAME_TAKEN",
        ),
        (ServerSpec(name="other", initiator="iqn.2026-01.test:s"), "INITIATOR_TAKEN"),
    ],
)
def test_a_name_or_an_initiator_in_use_is_refused_and_nothing_is_taken(
    pool: EngineRig, other: ServerSpec, reason: str
) -> None:
    attach(pool, "a", ServerSpec(name="s", initiator="iqn.2026-01.test:s"))
    with pytest.raises(AlreadyExists) as refused:
        attach(pool, "b", other)
    assert reason == refused.value.reason
    with pytest.raises(NotFound):
        pool.engine.attachments.get(ref=Ref(name="b"))
    pool.wait_ready(2)


def test_a_refusal_names_a_few_users_in_order_and_counts_the_others(rig: EngineRig) -> None:
    rig.add_image(system_user=None)
    rig.add_pool(min_ready=7, max_replicas=7)
    server = ServerSpec(name="s", initiator="iqn.2026-01.test:s")
    for name in "gfedcba":
        rig.attach(name, inline_server=server, system_user=USER)
    for name in "bcdefg":
        rig.add_pool(name, filled=False, min_ready=0)
    held = "(a, b, c, d, e and 2 more)"
    made = rig.engine.servers.get(ref=Ref(name="s"))
    pool, image = rig.pool(), rig.image()
    other = SystemUser(name="other", kind=SystemUserKind.CUSTOMER)
    taken = AttachmentSpec(name="z", pool="web", server="s", system_user=other)

    for refused, said in (
        (lambda: rig.engine.pools.delete(pool_id=pool.id), f"pool web has attachments {held}; "),
        (
            lambda: rig.engine.servers.delete(server_id=made.id),
            f"server s has attachments {held}; ",
        ),
        (lambda: rig.engine.images.delete(image_id=image.id), "pools b, c, d, e, f and 2 more; "),
        (lambda: rig.engine.attachments.create(spec=taken, token="z"), f"attachments {held[1:]}; "),
    ):
        with pytest.raises(FailedPrecondition) as raised:
            refused()
        assert said in str(raised.value)


def test_a_declared_server_is_not_taken_for_an_inline_one(pool: EngineRig) -> None:
    server = ServerSpec(name="s", initiator="iqn.2026-01.test:s")
    pool.engine.servers.create(spec=server, token="s")
    with pytest.raises(AlreadyExists):
        attach(pool, "a", server)


def test_none_is_left_when_the_pool_can_give_nothing(web: EngineRig) -> None:
    web.add_pool(min_ready=0, max_replicas=1, when_empty=WhenEmpty.FAIL)
    with pytest.raises(ResourceExhausted):
        attach(web, "a", ServerSpec(name="s", initiator="iqn.2026-01.test:s"))
    with pytest.raises(NotFound):
        web.engine.servers.get(ref=Ref(name="s"))


def test_it_goes_with_its_last_attachment(pool: EngineRig) -> None:
    server = ServerSpec(name="s", initiator="iqn.2026-01.test:s")
    held = [attach(pool, name, server) for name in ("a", "b")]
    pool.engine.attachments.delete(attachment_id=held[0], force=False)
    assert 1 == pool.engine.servers.get(ref=Ref(name="s")).attachments
    pool.engine.attachments.delete(attachment_id=held[1], force=False)
    with pytest.raises(NotFound):
        pool.engine.servers.get(ref=Ref(name="s"))
