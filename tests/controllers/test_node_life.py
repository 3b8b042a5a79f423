"""Two nodes on one PostgreSQL: filled together, silent, draining, replaced, renamed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from clonepool.domain.model import Ref
from clonepool.domain.states import AttachmentState, OperationState, VolumeState
from clonepool.errors import FailedPrecondition, Unavailable
from clonepool.testing.engines import EngineRig
from tests.controllers.node_pair import (
    SHARED,
    Pair,
    asked,
    attach_from,
    image_spec,
    is_gone,
    open_work,
)
from tests.controllers.steps import login

pytestmark = pytest.mark.postgres


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
    image = pair.here.engine.images.create(spec=image_spec(spec_source), token="t")
    (work,) = open_work(pair.here)
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
    far.there.wait_ready(2)
    drained = far.here.engine.nodes.drain(name="node2", draining=True)
    far.see()
    assert (True, False) == (drained.draining, far.here.engine.nodes.is_silent(drained))

    with pytest.raises(Unavailable, match="node node2 is draining and takes no new") as refused:
        far.there.attach("b")
    assert "NODE_DRAINING" == refused.value.reason
    waiting = far.here.attach("b")
    assert "2 ready, but node node2 is draining" == waiting.wait_reason
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
    far.there.wait_ready(2)
    far.here.engine.nodes.drain(name="node2", draining=True)
    far.see()

    run = far.here.engine.scrub.start(pool="web")
    for _ in range(5):
        far.there.advance(11)
        far.there.engine.nodes.look()
    assert run is not None
    (work,) = open_work(far.here)
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
