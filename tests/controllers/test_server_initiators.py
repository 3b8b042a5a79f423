"""A server's initiator is what it is let in by: changed everywhere at once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clonepool.domain.model import (
    Ref,
    ServerSpec,
)
from clonepool.errors import (
    FailedPrecondition,
    NotFound,
    Unavailable,
)
from clonepool.testing.engines import EngineRig
from tests.controllers.steps import fail_once, login


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
