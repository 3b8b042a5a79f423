"""Objects without a row: quarantined, listed, and deleted no sooner than their time is over."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from clonepool.backends.base import ObjectInfo
from clonepool.domain.drift import Orphan
from clonepool.domain.states import CloneMode
from clonepool.errors import (
    FailedPrecondition,
    InvalidArgument,
    Unavailable,
)
from clonepool.store import orphans
from clonepool.testing.engines import EngineRig
from tests.controllers.drifting import STRAY, look, memory, names, quarantine

MINUTE_S = 60.0


def leave_stray(rig: EngineRig, name: str = STRAY) -> None:
    """An object of ours that no row accounts for."""
    image = rig.image().current
    assert image is not None
    assert image.writable is not None
    rig.storage.clone(image=image.writable.object_name, name=name, mode=CloneMode.FULL)


def look_for(rig: EngineRig, seconds: float) -> None:
    """Let time pass as an engine sees it pass: with a look every few minutes."""
    for _ in range(int(seconds / 300)):
        rig.clock.advance(300)
        look(rig)


def test_a_stray_is_quarantined_listed_and_deleted_when_its_time_is_over(web: EngineRig) -> None:
    leave_stray(web)
    look(web)
    (orphan,) = quarantine(web)
    assert ("default", STRAY, 0.0) == (orphan.storage, orphan.name, orphan.waited_s)
    event = web.wait_event("ORPHANS_FOUND")
    assert ("storage/default", "warning") == (event.subject, event.severity)
    assert "deleted after 1h" in event.message
    look_for(web, 55 * MINUTE_S)
    assert STRAY in names(web)
    assert 1 == len(web.events("ORPHANS_FOUND")), "told once"
    look_for(web, 10 * MINUTE_S)
    assert STRAY not in names(web)
    assert [] == quarantine(web)
    assert STRAY in web.wait_event("ORPHAN_DELETED").message


def test_a_quarantine_survives_a_restart_and_goes_on(web: EngineRig) -> None:
    leave_stray(web)
    look(web)
    look_for(web, 30 * MINUTE_S)
    (before,) = quarantine(web)
    web.reopen()
    (after,) = quarantine(web)
    assert before.first_seen_at == after.first_seen_at
    assert after.waited_s >= before.waited_s >= 30 * MINUTE_S
    look_for(web, 35 * MINUTE_S)
    assert STRAY not in names(web)


@pytest.mark.parametrize("jump_s", [-86_400.0, 86_400.0])
def test_a_clock_that_jumps_deletes_nothing_early(web: EngineRig, jump_s: float) -> None:
    leave_stray(web)
    look(web)
    web.clock.advance(jump_s)
    look(web)
    web.reopen()
    look(web)
    assert STRAY in names(web)
    look_for(web, 75 * MINUTE_S)
    assert STRAY not in names(web)


def test_what_is_not_named_as_ours_is_never_touched(web: EngineRig) -> None:
    for name in ("backup", "vol-backup-g1", "img-golden-rw"):
        leave_stray(web, name)
    before = names(web)
    look(web)
    look_for(web, 120 * MINUTE_S)
    assert before == names(web)
    assert [] == quarantine(web)


def test_a_storage_full_of_strays_is_held_until_somebody_looks(web: EngineRig) -> None:
    """The database is perhaps an old copy, and the strays are what servers write to."""
    strays = [STRAY.replace("0b5f", f"0b5{number}") for number in range(4)]
    for name in strays:
        leave_stray(web, name)
    look(web)
    assert "the database an old copy" in web.wait_event("ORPHANS_HELD").message
    look_for(web, 120 * MINUTE_S)
    assert set(strays) <= names(web)
    assert 1 == len(web.events("ORPHANS_HELD"))
    assert [None] * 4 == [web.engine.orphans.due_in_s(orphan) for orphan in quarantine(web)]
    web.engine.orphans.delete(storage="default", name=strays[0])
    assert strays[0] not in names(web)
    # neither few strays nor pools that fill meanwhile make the rest any less of another engine's
    web.add_pool(min_ready=4)
    look_for(web, 120 * MINUTE_S)
    assert set(strays[1:]) <= names(web)


def test_an_orphan_is_never_deleted_where_the_setting_says_so(tmp_path: Path) -> None:
    rig = EngineRig(tmp_path)
    rig.settings = replace(rig.settings, orphan_grace_s=None)
    with rig:
        rig.add_image()
        leave_stray(rig)
        look(rig)
        look_for(rig, 600 * MINUTE_S)
        assert STRAY in names(rig)
        assert ["orphan_grace is never"] == [orphan.held for orphan in quarantine(rig)]
        assert [] == rig.events("ORPHANS_HELD")


def test_an_object_that_gets_its_row_leaves_the_quarantine(pool: EngineRig) -> None:
    """As after the right database was put back."""
    volume = pool.volumes(state="ready")[0]
    orphan = Orphan(
        storage="default",
        name=volume.object_name,
        size_bytes=1,
        used_bytes=1,
        first_seen_at=0,
        seen_at=0,
        waited_s=1e6,
        held="",
    )
    pool.engine._state.write(lambda transaction: orphans.keep(transaction, orphan))
    with pytest.raises(FailedPrecondition, match="a row accounts for it"):
        pool.engine.orphans.delete(storage="default", name=volume.object_name)
    pool.engine._state.write(lambda transaction: orphans.keep(transaction, orphan))
    look(pool)
    assert [] == quarantine(pool)
    assert volume.object_name in names(pool)
    pool.wait_event("ORPHANS_RESOLVED")


def test_an_orphan_that_somebody_removed_leaves_the_quarantine(web: EngineRig) -> None:
    leave_stray(web)
    look(web)
    web.storage.delete(name=STRAY)
    look(web)
    assert [] == quarantine(web)
    web.engine.orphans.delete(storage="default", name=STRAY)
    web.engine.orphans.delete(storage="default", name="../../etc/passwd")


def test_what_is_not_in_quarantine_cannot_be_deleted_as_an_orphan(pool: EngineRig) -> None:
    volume = pool.volumes(state="ready")[0]
    with pytest.raises(FailedPrecondition, match="is not in quarantine"):
        pool.engine.orphans.delete(storage="default", name=volume.object_name)
    assert volume.object_name in names(pool)
    with pytest.raises(InvalidArgument, match="it has default"):
        pool.engine.orphans.delete(storage="other", name=STRAY)


def test_an_orphan_that_cannot_be_deleted_is_tried_again(web: EngineRig) -> None:
    leave_stray(web)
    look(web)

    def fail(step: str, _name: str) -> None:
        if step == "delete.begin":
            raise Unavailable("the storage is away for a moment")

    memory(web).on_step = fail
    look_for(web, 70 * MINUTE_S)
    assert STRAY in names(web)
    assert 1 == len(quarantine(web))
    memory(web).on_step = lambda _step, _name: None
    look(web)
    assert STRAY not in names(web)


def test_looks_come_by_themselves(web: EngineRig) -> None:
    leave_stray(web)
    web.reopen()
    web.wait_for(lambda: quarantine(web), what="the first look, at the start")
    web.clock.advance(331)
    web.wait_for(lambda: quarantine(web)[0].waited_s > 0, what=lambda: quarantine(web))


def test_an_orphan_that_is_deleted_during_a_look_is_not_quarantined_anew(web: EngineRig) -> None:
    leave_stray(web)
    backend = memory(web)
    listing = backend.list

    def list_then_lose() -> Iterator[ObjectInfo]:
        found = list(listing())
        backend.delete(name=STRAY)
        return iter(found)

    backend.list = list_then_lose  # type: ignore[method-assign]
    look(web)
    assert [] == quarantine(web)
    assert [] == web.events("ORPHANS_FOUND")
