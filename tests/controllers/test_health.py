"""What the engine stands on fails for a while: told of once, and nothing is lost."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from clonepool.domain.model import PageRequest, ScrubPolicy
from clonepool.domain.states import VolumeState
from clonepool.errors import (
    ResourceExhausted,
    Unavailable,
)
from clonepool.testing.engines import EngineRig
from tests.controllers.drifting import look, memory

V = VolumeState


def test_a_storage_that_is_away_is_told_of_and_loses_nothing(pool: EngineRig) -> None:
    def away(_self: object = None) -> None:
        raise Unavailable("the storage does not answer", reason="STORAGE_AWAY")

    backend = memory(pool)
    listing, backend.check, backend.list = backend.list, away, away  # type: ignore[method-assign,assignment]
    look(pool)
    pool.wait_event("STORAGE_AWAY")
    look(pool)
    # written after what the look told, if it told anything
    pool.wake()
    assert 1 == len(pool.events("STORAGE_AWAY"))
    assert 2 == pool.count(V.READY)
    del backend.check
    backend.list = listing  # type: ignore[method-assign]
    look(pool)
    pool.wait_event("STORAGE_BACK")
    assert 2 == pool.count(V.READY)


def test_a_full_storage_does_not_stop_a_pool_for_good(web: EngineRig) -> None:
    full = [True]

    def fail(step: str, _name: str) -> None:
        if step == "clone.begin" and full:
            raise ResourceExhausted("0 B is free", reason="STORAGE_FULL")

    memory(web).on_step = fail
    web.add_pool(min_ready=1, filled=False, scrub=ScrubPolicy(threshold=5))
    for _ in range(8):
        attempts = [each.attempt for each in web.engine.operations.list(page=PageRequest())[0]]
        web.pass_time_until(
            lambda seen=attempts: (
                [each.attempt for each in web.engine.operations.list(page=PageRequest())[0]] != seen
            ),
            what=lambda: "another attempt",
        )
    assert "" == web.pool().stopped_reason
    full.clear()
    web.pass_time_until(lambda: web.count(V.READY) == 1, what=web.volumes)


def test_a_clock_that_was_set_back_is_told_of(pool: EngineRig) -> None:
    look(pool)
    pool.clock.advance(-7200)
    look(pool)
    assert "set back by 2h" in pool.wait_event("CLOCK_SET_BACK").message
    look(pool)
    pool.wake()
    assert 1 == len(pool.events("CLOCK_SET_BACK"))
    pool.wait_ready(2)
    pool.attach_and_wait("a")


def test_a_clock_that_was_set_back_while_no_engine_ran_is_told_of(pool: EngineRig) -> None:
    pool.close()
    pool.clock.advance(-7200)
    pool.open()
    pool.wait_event("CLOCK_SET_BACK")
    pool.attach_and_wait("a")


def test_a_grant_that_could_not_be_noted_is_noted_once_the_database_is_back(
    tmp_path: Path,
) -> None:
    """Refused before the note's change even ran: it must be asked for again."""
    with EngineRig(tmp_path) as rig:
        rig.add_image()
        rig.add_pool(min_ready=3)
        state = rig.engine._state
        state.write(lambda transaction: transaction._raw.execute("PRAGMA busy_timeout = 20"))
        with closing(sqlite3.connect(state.database.shown, isolation_level=None)) as blocker:
            first = rig.attach("a")
            blocker.execute("BEGIN IMMEDIATE")
            with pytest.raises(Unavailable):
                rig.attach("b")
            rig.wait_for(state._writer._deferred.empty, what="the note to be refused or written")
            blocker.execute("ROLLBACK")
        rig.attach("b")
        for each in (first, rig.attach("c")):
            rig.pass_time_until(
                lambda each=each: rig.volume(each.volume_id).state is V.ALLOCATED,
                what=lambda each=each: rig.volume(each.volume_id),
            )
