"""Two nodes on one PostgreSQL: what lies on one is asked for at the other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from clonepool.backends.memory import MemoryBackend
from clonepool.domain.model import Ref
from clonepool.domain.states import AttachmentState, CloneMode, VolumeState
from clonepool.errors import ClonepoolError, FailedPrecondition, Unavailable
from tests.controllers.node_pair import Pair, asked, attach_from, image_spec, is_gone
from tests.controllers.steps import fail_once, login

pytestmark = pytest.mark.postgres


def test_each_node_shows_both(pair: Pair) -> None:
    for rig in (pair.here, pair.there):
        first, second = rig.engine.nodes.list()

        assert ("node1", "node2") == (first.name, second.name)
        assert ("ceph", "default") == first.facts.storages
        assert ("ceph",) == second.facts.hostless
    assert "node/node2" == pair.here.wait_event("NODE_CAME").subject


def test_an_attachment_is_granted_where_its_volume_is(far: Pair) -> None:
    """Asked for at the other node, which first says that it waits for that, and never blocks."""
    first = far.here.attach("a")
    assert (AttachmentState.WAITING, "") == (first.state, first.volume_id)
    assert "on node node2, which was asked to grant it" in first.wait_reason

    attached = attach_from(far.here, "a")

    assert "node2" == far.here.volume(attached.volume_id).node
    assert login(far.there, attached).is_alive()
    assert [] == list(far.here.fabric.list())


def test_both_nodes_answer_alike_of_an_attachment(far: Pair) -> None:
    made = attach_from(far.here, "a")

    found = [
        asked(rig, lambda rig=rig: rig.engine.attachments.get(ref=Ref(id=made.id)))
        for rig in (far.here, far.there)
    ]

    assert found[0] == found[1]
    assert found[0].connection == made.connection
    assert found[0].chap == made.chap


def test_what_a_node_granted_before_another_came_is_known_there_too(
    tmp_path: Path, postgres_url: str
) -> None:
    pair = Pair(tmp_path, database=postgres_url)
    try:
        pair.here.open()
        pair.here.add_image()
        pair.here.add_pool(min_ready=1)
        made = pair.here.attach_and_wait("a")
        pair.there.open()
        pair.see()

        found = asked(pair.there, lambda: pair.there.engine.attachments.get(ref=Ref(id=made.id)))

        assert made.connection == found.connection
    finally:
        pair.there.close()
        pair.here.close()


def test_a_release_is_done_where_the_volume_is(far: Pair) -> None:
    attached = attach_from(far.here, "a")
    session = login(far.there, attached)

    asked(far.here, lambda: far.here.release(attached, force=True))

    assert is_gone(far.there, attached)
    assert not session.is_alive()
    assert attached.connection is not None
    assert attached.connection.target not in far.there.fabric.list()


def test_a_server_that_is_logged_in_is_seen_from_the_other_node(far: Pair) -> None:
    """The refusal is the other node's own, and is asked for anew each time."""
    attached = attach_from(far.here, "a")
    session = login(far.there, attached)
    for _ in range(2):
        with pytest.raises(FailedPrecondition, match="is using attachment a") as refused:
            asked(far.here, lambda: far.here.release(attached))
        assert "SERVER_BUSY" == refused.value.reason
    session.close()

    asked(far.here, lambda: far.here.release(attached))

    assert is_gone(far.here, attached)


def test_a_release_that_was_refused_can_be_forced(far: Pair) -> None:
    attached = attach_from(far.here, "a")
    login(far.there, attached)
    with pytest.raises(Unavailable):
        far.here.release(attached)

    asked(far.here, lambda: far.here.release(attached, force=True))

    assert is_gone(far.here, attached)


def test_a_new_initiator_is_admitted_by_the_other_node(far: Pair) -> None:
    attached = attach_from(far.here, "a")
    server = far.here.engine.servers.get(ref=Ref(id=attached.server_id))
    spec = replace(attached.spec, inline_server=replace(server.spec, initiator="iqn.2026-01.t:b"))

    updated = asked(
        far.here, lambda: far.here.engine.attachments.update(attachment_id=attached.id, spec=spec)
    )

    assert attached.volume_id == updated.volume_id
    assert login(far.there, updated, initiator="iqn.2026-01.t:b").is_alive()
    with pytest.raises(ClonepoolError):
        login(far.there, updated, initiator="iqn.2026-01.test:a")


def test_an_undone_release_is_granted_where_the_volume_is(far: Pair) -> None:
    attached = attach_from(far.here, "a")
    asked(far.here, lambda: far.here.release(attached, force=True))

    back = asked(far.here, lambda: far.here.engine.attachments.undo_release(attachment="a"))

    assert attached.volume_id == back.volume_id
    assert login(far.there, back).is_alive()


def test_what_the_other_node_refuses_leaves_nothing_behind(far: Pair) -> None:
    """As at home: the caller hears of it, the volume is free again."""
    fail_once(far.there, "grant.begin", FailedPrecondition("no more targets", reason="FULL"))
    with pytest.raises(FailedPrecondition, match="no more targets") as refused:
        attach_from(far.here, "a")

    assert "FULL" == refused.value.reason
    far.here.wait_for(lambda: far.here.count(VolumeState.RELEASED) == 1, what=far.here.pool)


def test_what_lies_on_a_silent_node_waits_and_the_answer_says_so(far: Pair) -> None:
    attached = attach_from(far.here, "a")
    far.there.wait_ready(2)
    far.fall_silent(far.there)

    waiting = far.here.attach("b")
    with pytest.raises(Unavailable, match=r"node node2 was last heard of .* ago, so that it waits"):
        far.here.release(attached)

    assert AttachmentState.WAITING is waiting.state
    assert waiting.wait_reason.startswith("2 ready, but node node2 was last heard of 3")
    assert "node/node2" == far.here.wait_event("NODE_SILENT").subject
    far.there.open()
    far.see()
    assert "node/node2" == far.here.wait_event("NODE_BACK").subject
    asked(far.here, lambda: far.here.release(attached))
    assert attach_from(far.here, "b").volume_id


def test_other_nodes_serve_while_one_is_silent(far: Pair) -> None:
    far.here.add_image("near")
    far.here.add_pool("near", master_image="near", min_ready=1)
    far.fall_silent(far.there)

    assert AttachmentState.ATTACHED is far.here.attach("n", pool="near").state


def test_a_node_leaves_the_others_exports_and_objects_alone(far: Pair) -> None:
    """What it has no rows of is not its own, and what it lacks need not be its own either."""
    far.here.add_image("near")
    far.here.add_pool("near", master_image="near", min_ready=1)
    before = [rig.fabric.list() for rig in (far.here, far.there)]

    for rig in (far.here, far.there):
        rig.engine.reconcile.run_once()
        rig.engine.reconcile.run_once()

    assert before == [rig.fabric.list() for rig in (far.here, far.there)]
    assert ([], []) == (far.here.events("STRAY_EXPORTS_REMOVED"), far.here.events("ORPHANS_FOUND"))
    assert [] == far.here.volumes(state="faulty")


def test_a_restart_makes_no_others_exports(far: Pair) -> None:
    far.here.reopen()

    assert [] == list(far.here.fabric.list())
    assert 2 == len(far.there.fabric.list())


def test_an_image_for_another_nodes_storage_is_imported_there(pair: Pair) -> None:
    pair.here.engine.images.create(
        spec=image_spec(pair.here.portion("w"), storage="far"), token="t"
    )

    pair.there.wait_imported("web", number=1)

    assert "node2" == pair.here.image().latest.node
    pair.here.add_pool(min_ready=1)
    assert {"node2"} == {volume.node for volume in pair.here.volumes()}


def test_what_another_nodes_storage_can_not_do_is_refused_here_too(pair: Pair) -> None:
    """By what that node said of it when it started."""
    pair.there.close()
    pair.there.add_storage("far", MemoryBackend(thin=False))
    pair.there.open()
    pair.see()
    pair.there.add_image(storage="far")

    with pytest.raises(FailedPrecondition, match="storage far makes no thin clones"):
        pair.here.add_pool(min_ready=1, clone_mode=CloneMode.THIN)
    pair.here.add_pool(min_ready=1)
    pair.fall_silent(pair.there)
    pair.here.engine.nodes.forget(name="node2")
    with pytest.raises(Unavailable, match="master image web is on node node2, of which"):
        pair.here.add_pool("other", filled=False)
