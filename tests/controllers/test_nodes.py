"""Two nodes on one PostgreSQL, each with its own storage and fabric, and one that both reach."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clonepool.backends.memory import MemoryBackend
from clonepool.domain.model import Attachment, ImageSpec, PageRequest, PortionSpec, Ref
from clonepool.domain.states import AttachmentState, CloneMode, OperationState, VolumeState
from clonepool.errors import (
    ClonepoolError,
    FailedPrecondition,
    NotFound,
    Unavailable,
)
from clonepool.testing.engines import USER, EngineRig
from tests.controllers.steps import fail_once, login

pytestmark = pytest.mark.postgres
SHARED = "ceph"
LEASE_OVER_S = 31.0


class Pair:
    """Two nodes: ``here`` has the storage ``default``, ``there`` ``far``, and both ``ceph``."""

    def __init__(self, folder: Path, *, database: str) -> None:
        shared = MemoryBackend(hostless=True)
        self.here = EngineRig(folder / "one", database=database)
        self.there = EngineRig(folder / "two", node="node2", beside=self.here)
        self.there.add_storage("far", MemoryBackend())
        for rig in (self.here, self.there):
            rig.folder.mkdir()
            rig.add_storage(SHARED, shared)
        self.shared = shared

    def see(self) -> None:
        """Have each node look at the other now."""
        for rig in (self.here, self.there):
            if rig._engine is not None:
                rig.engine.nodes.look()

    def fall_silent(self, rig: EngineRig) -> None:
        """End a node, and let its lease run out."""
        rig.close()
        self.here.clock.advance(LEASE_OVER_S)
        other = self.there if rig is self.here else self.here
        other.wake()
        other.wait_for(
            lambda: rig.settings.node in other.engine._worker._context.nodes.out,
            what="the silence to be seen",
        )


@pytest.fixture
def pair(tmp_path: Path, postgres_url: str) -> Iterator[Pair]:
    made = Pair(tmp_path, database=postgres_url)
    with ExitStack() as stack:
        for rig in (made.here, made.there):
            stack.callback(rig.close)
            rig.open()
        made.see()
        yield made


@pytest.fixture
def far(pair: Pair) -> Pair:
    """A pool with two ready replicas on the other node."""
    pair.there.add_image(storage="far")
    pair.there.add_pool(min_ready=2)
    return pair


def asked(rig: EngineRig, act: Callable[[], Any]) -> Any:
    """Ask again for as long as another node was asked, as every client does."""
    found: list[Any] = []

    def once() -> bool:
        try:
            found[:] = [act()]
        except Unavailable as error:
            if error.reason != "NODE_ASKED":
                raise
            return False
        return True

    rig.wait_for(once, what="the other node to answer")
    return found[0]


def attach_from(rig: EngineRig, name: str, **changes: Any) -> Attachment:
    """Ask until it is attached."""
    rig.wait_for(
        lambda: rig.attach(name, **changes).state is AttachmentState.ATTACHED,
        what=lambda: f"{name} attached; pool has {rig.pool()}",
    )
    return rig.attach(name, **changes)


def is_gone(rig: EngineRig, attached: Attachment) -> bool:
    try:
        rig.engine.attachments.get(ref=Ref(id=attached.id))
    except NotFound:
        return True
    return False


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
    far.fall_silent(far.there)

    waiting = far.here.attach("b")
    with pytest.raises(Unavailable, match=r"node node2 was last heard of .* ago, so that it waits"):
        far.here.release(attached)

    assert AttachmentState.WAITING is waiting.state
    assert waiting.wait_reason.startswith("1 ready, but node node2 was last heard of 3")
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


def test_two_planners_never_overfill_a_pool(pair: Pair) -> None:
    pair.here.add_image(storage=SHARED)
    pair.here.add_pool(min_ready=20, max_replicas=20, filled=False)
    seen: list[int] = []

    def filled() -> bool:
        pair.there.wake()
        pair.here.wake()
        counts = pair.here.pool().counts
        seen.append(sum(counts.by_state.values()))
        return counts.of(VolumeState.READY) == 20

    pair.here.wait_for(filled, what=pair.here.pool)
    assert max(seen) == 20


def test_what_any_node_can_clone_is_exported_where_it_was_cloned(pair: Pair) -> None:
    pair.here.add_image(storage=SHARED)
    pair.here.engine._worker.stop()
    pair.there.engine._planner.stop()
    pair.here.add_pool(min_ready=8)

    on = {volume.object_name: volume.node for volume in pair.here.volumes()}

    for rig in (pair.here, pair.there):
        mine = {name for name, node in on.items() if node == rig.settings.node}
        assert mine == set(rig.fabric.list())
    assert {"node2"} == set(on.values())
    assert on.keys() <= {info.name for info in pair.shared.list()}


def test_an_import_on_a_shared_storage_is_taken_over(pair: Pair) -> None:
    """By its lease: the node that began it is gone."""
    pair.there.close()
    spec_source = pair.here.portion("web-rw")
    pair.here.engine._worker.stop()
    image = pair.here.engine.images.create(spec=_image(spec_source), token="t")
    (work,) = _open_work(pair.here)
    assert ("import_image", "@ceph") == (work.kind, work.node)

    pair.there.open()
    pair.there.wait_imported("web", number=1)

    assert image.id == pair.there.image("web").id
    assert OperationState.DONE is pair.here.engine.operations.get(ref=Ref(id=work.id)).state


def test_ready_replicas_on_a_shared_storage_come_to_a_node_that_lives(pair: Pair) -> None:
    """They are exported there, and served; what the other node still exports is its stray."""
    pair.here.close()
    pair.there.add_image(storage=SHARED)
    pair.there.add_pool(min_ready=3)
    pair.here.open()
    pair.see()
    pair.fall_silent(pair.there)
    pair.here.wait_for(
        lambda: {"node1"} == {volume.node for volume in pair.here.volumes()},
        what=pair.here.volumes,
    )

    attached = pair.here.attach("a")

    assert AttachmentState.ATTACHED is attached.state
    assert login(pair.here, attached).is_alive()
    assert "node/node2" == pair.here.wait_event("NODE_TAKEN_OVER").subject
    before = pair.here.fabric.list()
    pair.there.open()

    def is_clean() -> bool:
        pair.there.engine.reconcile.run_once()
        return not before & pair.there.fabric.list()

    pair.there.wait_for(is_clean, what=pair.there.fabric.list)


def test_what_a_server_holds_is_not_taken_over(pair: Pair) -> None:
    pair.here.close()
    pair.there.add_image(storage=SHARED)
    pair.there.add_pool(min_ready=1)
    attached = pair.there.attach_and_wait("a")
    pair.here.open()
    pair.see()
    pair.fall_silent(pair.there)
    pair.here.wait_event("NODE_TAKEN_OVER")

    assert "node2" == pair.here.volume(attached.volume_id).node


def test_a_draining_node_begins_nothing_and_lets_go(far: Pair) -> None:
    attached = attach_from(far.here, "a")
    drained = far.here.engine.nodes.drain(name="node2", draining=True)
    far.see()
    assert (True, False) == (drained.draining, far.here.engine.nodes.is_silent(drained))

    with pytest.raises(Unavailable, match="node node2 is draining and takes no new") as refused:
        far.there.attach("b")
    assert "NODE_DRAINING" == refused.value.reason
    waiting = far.here.attach("b")
    assert "1 ready, but node node2 is draining" == waiting.wait_reason
    assert "a" == far.there.engine.attachments.get(ref=Ref(name="a")).spec.name
    asked(far.here, lambda: far.here.release(attached))
    assert is_gone(far.here, attached)

    far.there.engine.nodes.drain(name="node2", draining=False)
    far.see()
    assert attach_from(far.here, "b").volume_id
    reasons = [event.reason for event in far.here.events() if event.subject == "node/node2"]
    assert ["NODE_CAME", "NODE_DRAINING", "NODE_UNDRAINED"] == reasons


def test_draining_outlives_a_restart(far: Pair) -> None:
    far.here.engine.nodes.drain(name="node2", draining=True)
    far.there.reopen()

    far.there.update_pool(min_ready=4)
    far.there.engine._planner.run_once()

    counts = far.there.pool().counts
    assert (2, 0) == (counts.of(VolumeState.READY), counts.of(VolumeState.PLANNED))
    far.here.engine.nodes.drain(name="node2", draining=False)
    far.there.engine.nodes.look()
    far.there.wake()
    far.there.wait_ready(4)


def test_work_that_was_asked_for_waits_while_its_node_drains(far: Pair) -> None:
    attached = attach_from(far.here, "a")
    asked(far.here, lambda: far.here.release(attached))
    far.here.engine.nodes.drain(name="node2", draining=True)
    far.see()

    run = far.here.engine.scrub.start(pool="web")
    for _ in range(5):
        far.there.advance(11)
        far.there.engine.nodes.look()
    assert run is not None
    (work,) = _open_work(far.here)
    assert ("scrub_volume", "node2", OperationState.QUEUED) == (work.kind, work.node, work.state)

    far.here.engine.nodes.drain(name="node2", draining=False)
    far.see()
    far.there.wake()
    far.here.wait_runs_over()


def test_work_under_way_is_handed_back_by_a_draining_node(pair: Pair) -> None:
    """On a storage of its own it waits there, on a shared one another node goes on with it."""
    pair.here.add_image(storage=SHARED)
    pair.here.close()
    held: list[str] = []

    def hold(step: str, name: str) -> None:
        if step == "clone.work" and not held:
            held.append(name)
            pair.there.engine.nodes.drain(name="node2", draining=True)

    pair.shared.on_step = hold
    pair.there.add_pool(min_ready=1, filled=False)
    pair.there.wait_for(lambda: held, what="a clone under way")
    pair.here.open()

    pair.here.wait_ready(1)

    assert {"node1"} == {volume.node for volume in pair.here.volumes()}


def test_a_second_machine_of_a_name_is_refused(pair: Pair, tmp_path: Path) -> None:
    """It would take the first one's work for its own."""
    other = EngineRig(tmp_path / "three", node="node2", beside=pair.here)
    other.folder.mkdir()
    with pytest.raises(FailedPrecondition, match="node node2 is another machine's") as refused:
        other.open()
    assert "NODE_NAME_TAKEN" == refused.value.reason
    other.close()

    with pytest.raises(FailedPrecondition, match="node node2 is alive"):
        pair.here.engine.nodes.forget(name="node2")
    pair.fall_silent(pair.there)
    pair.here.engine.nodes.forget(name="node2")
    pair.here.engine.nodes.forget(name="node2")
    try:
        other.open()
    finally:
        other.close()
    assert "node/node2" == pair.here.wait_event("NODE_FORGOTTEN").subject


def test_a_machine_whose_name_was_taken_does_nothing_any_more(pair: Pair, tmp_path: Path) -> None:
    """As one that comes back after it was forgotten and replaced."""
    other = EngineRig(tmp_path / "three", node="node2", beside=pair.here)
    other.folder.mkdir()
    here = pair.here.engine._worker._context.state
    here.write(lambda transaction: transaction.sql("DELETE FROM node WHERE name = 'node2'"))
    try:
        other.open()
        pair.there.advance(11)
        pair.there.wait_for(
            lambda: pair.there.engine._worker._context.nodes.is_ousted, what="it to be ousted"
        )
        with pytest.raises(Unavailable):
            pair.there.attach("a")
    finally:
        other.close()


def test_a_machine_that_changed_its_name_keeps_what_it_has(far: Pair) -> None:
    far.there.close()
    far.there.settings = replace(far.there.settings, node="node3")
    far.there.open()
    far.see()

    assert ["node1", "node3"] == [node.name for node in far.here.engine.nodes.list()]
    assert {"node3"} == {volume.node for volume in far.here.volumes()}
    assert "node/node3" == far.here.wait_event("NODE_RENAMED").subject
    assert attach_from(far.here, "a").volume_id


def test_an_image_for_another_nodes_storage_is_imported_there(pair: Pair) -> None:
    pair.here.engine.images.create(spec=_image(pair.here.portion("w"), storage="far"), token="t")

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


def _image(portion: PortionSpec, *, storage: str = SHARED) -> ImageSpec:
    return ImageSpec(name="web", system_user=USER, writable=portion, storage=storage)


def _open_work(rig: EngineRig) -> list[Any]:
    found, _token = rig.engine.operations.list(page=PageRequest(), open_only=True)
    return list(found)
