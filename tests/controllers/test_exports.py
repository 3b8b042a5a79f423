"""Exports are the rows': lost ones are made again, and nobody is let in who was released."""

from __future__ import annotations

import threading

import pytest

from clonepool.domain.model import (
    PageRequest,
)
from clonepool.domain.states import (
    VolumeState,
)
from clonepool.errors import (
    NotFound,
)
from clonepool.testing.engines import EngineRig
from tests.controllers.steps import login, on_export_of

V = VolumeState


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


def test_what_comes_back_while_a_fabric_comes_back_keeps_its_export(pool: EngineRig) -> None:
    """Its release was undone between the watcher's last look and its tidying up."""
    attached = [pool.attach_and_wait(name) for name in ("a", "b")]
    pool.wait_ready(2)
    first = min(pool.volumes(), key=lambda volume: volume.created_at)
    (other,) = [each for each in attached if each.volume_id != first.id][:1]
    assert other.connection is not None
    pool.reopen()
    undone: list[threading.Thread] = []
    unexport = pool.fabric.unexport

    def late(target: str) -> None:
        if target == other.connection.target and not undone:
            name = other.spec.name
            undo = pool.engine.attachments.undo_release
            undone.append(threading.Thread(target=lambda: undo(attachment=name)))
            undone[0].start()
            # what it does without waiting for us is done by then
            undone[0].join(timeout=1.0)
        unexport(target)

    def release() -> None:
        pool.release(other)
        pool.fabric.unexport = late  # type: ignore[method-assign]

    on_export_of(pool, first.target, release)
    pool.fabric.restart()
    pool.wait_event("EXPORTS_REMADE")
    assert undone
    undone[0].join(timeout=20)
    assert login(pool, other).is_alive()


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


def test_a_replica_whose_export_was_lost_before_it_was_ready_is_exported_once_more(
    pool: EngineRig,
) -> None:
    """The exports were made again by the rows, and in its row it was not ready yet."""
    left = [True]

    def lose(step: str) -> None:
        if step != "export.end" or not left:
            return
        left.clear()
        pool.fabric.restart()
        # the engine has seen it, and is done with what was ready
        seen, now = pool.engine._exports._seen, pool.fabric.incarnation()
        pool.wait_for(lambda: now in seen.values(), what=lambda: seen)

    pool.fabric.fault = lose
    pool.update_pool(min_ready=3)
    pool.pass_time_until(lambda: pool.count(V.READY) == 3, what=pool.pool)
    assert not left
    assert {volume.target for volume in pool.volumes()} == pool.fabric.list()
