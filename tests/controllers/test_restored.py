"""A database that is put back from a backup: what servers may have had since goes to nobody."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from clonepool.backends.file import FileBackend
from clonepool.cli.database import restored_database
from clonepool.controllers.restored import set_aside
from clonepool.domain.model import PageRequest, ScrubPolicy
from clonepool.domain.states import AfterScrub, VolumeState
from clonepool.errors import FailedPrecondition, NotFound
from clonepool.store.high_water import FILE_NAME, Note
from clonepool.testing.engines import EngineRig

FAULTY, READY, ALLOCATED = VolumeState.FAULTY, VolumeState.READY, VolumeState.ALLOCATED


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[EngineRig]:
    """A pool of two; its engine is closed at the end. SQLite: what is put back are its files."""
    rig = EngineRig(tmp_path / "site")
    rig.folder.mkdir()
    try:
        rig.open()
        rig.add_image()
        scrub = ScrubPolicy(threshold=1, then=AfterScrub.RECYCLE)
        rig.add_pool(min_ready=2, max_replicas=6, scrub=scrub)
        yield rig
    finally:
        rig.close()


def back_up(rig: EngineRig, *, whole: bool = False) -> Path:
    """The database alone, or all of the state's folder, at rest."""
    rig.close()
    kept = rig.folder / "backup"
    shutil.copytree(rig.settings.state_dir, kept)
    if not whole:
        (kept / FILE_NAME).unlink()
    rig.open()
    return kept


def put_back(rig: EngineRig, kept: Path) -> None:
    """Put the files of a backup in the place of those that are there, and start."""
    rig.close()
    for path in rig.settings.state_dir.glob("clonepool.db*"):
        path.unlink()
    shutil.copytree(kept, rig.settings.state_dir, dirs_exist_ok=True)
    rig.open()


def states(rig: EngineRig) -> dict[str, VolumeState]:
    return {volume.id: volume.state for volume in rig.volumes()}


def test_what_was_ready_then_goes_to_nobody_though_the_pool_fills_again(rig: EngineRig) -> None:
    old = {volume.id for volume in rig.volumes()}
    kept = back_up(rig)
    # somebody gets one of them, after the backup
    had = rig.attach_and_wait("after").volume_id
    assert had in old
    put_back(rig, kept)
    rig.wait_ready(2)
    now = states(rig)
    assert {FAULTY} == {now[volume_id] for volume_id in old}
    assert old.isdisjoint(rig.attach_and_wait(name).volume_id for name in ("next", "last"))
    (event,) = rig.events("DATABASE_RESTORED")
    assert "2 volumes that were ready or released are faulty" in event.message
    assert "in doubt" in rig.volume(had).error


def test_what_was_released_then_is_not_erased_by_itself(rig: EngineRig) -> None:
    """It may have been given back to its user since, who is at work on it."""
    rig.update_pool(scrub=ScrubPolicy(threshold=5))
    attached = rig.attach_and_wait("before")
    rig.release(attached)
    kept = back_up(rig)
    rig.attach_and_wait("after")
    put_back(rig, kept)
    rig.update_pool(scrub=ScrubPolicy(threshold=1))
    rig.wait_ready(2)
    assert FAULTY is rig.volume(attached.volume_id).state
    assert [] == rig.runs()


def test_what_was_attached_then_stays_attached(rig: EngineRig) -> None:
    attached = rig.attach_and_wait("before")
    kept = back_up(rig)
    rig.attach_and_wait("after")
    put_back(rig, kept)
    assert ALLOCATED is rig.volume(attached.volume_id).state
    assert attached.volume_id == rig.attach("before").volume_id


def test_what_is_scrubbed_afterwards_is_destroyed_and_never_reused(rig: EngineRig) -> None:
    """Its next generation may be on the storage already, with somebody's bytes."""
    kept = back_up(rig)
    rig.attach_and_wait("after")
    put_back(rig, kept)
    rig.wait_ready(2)
    old = {volume.id for volume in rig.volumes(state="faulty")}
    assert 2 == len(old)
    rig.engine.scrub.start(pool="web")
    (run,) = rig.wait_runs_over()
    rig.wait_for(lambda: old.isdisjoint(states(rig)), what=lambda: states(rig))
    assert (2, 2, 0) == (run.volumes, run.destroyed, run.recycled)


def test_a_generation_that_the_backup_does_not_know_is_kept(rig: EngineRig) -> None:
    kept = back_up(rig)
    rig.release(rig.attach_and_wait("first"))
    rig.wait_runs_over()
    rig.wait_ready(2)
    holders = [rig.attach_and_wait(f"after-{number}") for number in range(2)]
    names = {rig.volume(each.volume_id).object_name for each in holders}
    put_back(rig, kept)
    rig.wait_ready(2)
    rig.engine.reconcile.run_once()
    known = {volume.object_name for volume in rig.volumes()}
    strays = {name for name in names if name not in known}
    assert strays, "one of them is of the second generation"
    rig.clock.advance(30 * 86400)
    rig.engine.reconcile.run_once()
    kept_ones, _ = rig.engine.orphans.list(page=PageRequest())
    assert strays <= {orphan.name for orphan in kept_ones}
    assert all("in doubt" in orphan.held for orphan in kept_ones)
    assert strays <= {info.name for info in rig.storage.list()}
    # and what the engine loses sight of later is none of it
    assert not any(name in known for name in strays)


def test_what_was_being_made_then_is_left_alone(rig: EngineRig) -> None:
    """Its object may be there by now, handed out and written to."""
    rig.close()
    rig.open(start=False)
    rig.update_pool(min_ready=4)
    rig.engine._planner.run_once()
    planned = {volume.id for volume in rig.volumes(state="planned")}
    assert 2 == len(planned)
    kept = back_up(rig)
    rig.wait_ready(4)
    names = {rig.volume(volume_id).object_name for volume_id in planned}
    had = {rig.attach_and_wait(f"after-{number}").volume_id for number in range(4)}
    assert planned <= had
    put_back(rig, kept)
    rig.wait_ready(4)
    assert planned.isdisjoint(states(rig))
    assert names <= {info.name for info in rig.storage.list()}


def test_a_state_folder_put_back_whole_is_found_out_by_what_the_storage_knows(
    tmp_path: Path,
) -> None:
    volumes = tmp_path / "volumes"
    volumes.mkdir()
    rig = EngineRig(tmp_path / "site", storage=FileBackend(directory=volumes))
    rig.folder.mkdir()
    rig._storages["default"].options["path"] = str(volumes)  # type: ignore[index]
    try:
        rig.open()
        rig.add_image()
        rig.add_pool(min_ready=1)
        kept = back_up(rig, whole=True)
        rig.attach_and_wait("after")
        put_back(rig, kept)
        assert 1 == len(rig.events("DATABASE_RESTORED"))
    finally:
        rig.close()


def test_it_can_be_said_and_is_found_out_no_second_time(rig: EngineRig) -> None:
    kept = back_up(rig)
    rig.attach_and_wait("after")
    rig.close()
    for path in rig.settings.state_dir.glob("clonepool.db*"):
        path.unlink()
    shutil.copytree(kept, rig.settings.state_dir, dirs_exist_ok=True)
    rig.open(start=False)
    assert 2 == set_aside(rig.engine._state, why="said")
    rig.reopen()
    rig.reopen()
    assert 1 == len(rig.events("DATABASE_RESTORED"))


def test_a_backup_from_before_the_last_putting_back_is_found_out(rig: EngineRig) -> None:
    kept = back_up(rig)
    rig.attach_and_wait("after")
    put_back(rig, kept)
    rig.wait_ready(2)
    put_back(rig, kept)
    assert 1 == len(rig.events("DATABASE_RESTORED"))
    assert 2 == rig.count(FAULTY)


def test_kills_and_notes_that_cannot_be_read_raise_no_alarm(rig: EngineRig) -> None:
    rig.attach_and_wait("one")
    note = rig.settings.state_dir / FILE_NAME
    assert Note(**json.loads(note.read_bytes())).commits > 0
    rig.close()
    note.write_bytes(b"torn")
    rig.open()
    rig.attach_and_wait("two")
    rig.reopen()
    assert [] == rig.events("DATABASE_RESTORED")
    assert 0o600 == note.stat().st_mode & 0o777


@pytest.mark.parametrize(
    ("note", "is_ahead"),
    [
        ({"commits": 7}, False),
        ({"commits": 8}, True),
        ({"commits": 1, "node": "other"}, True),
        ({"commits": 99, "engine_id": "another"}, False),
        ({"commits": 99, "restore_id": "first"}, False),
        ({"commits": 1, "restore_id": "unheard of"}, True),
    ],
)
def test_when_a_note_is_ahead(note: dict[str, object], is_ahead: bool) -> None:
    fields = {"engine_id": "e", "restore_id": "second", "node": "n", **note}
    seen = Note(**fields)  # type: ignore[arg-type]
    given = {"engine_id": "e", "restores": ["first", "second"], "commits": {"n": 7}}
    assert is_ahead is seen.is_ahead_of(**given)  # type: ignore[arg-type]


def test_the_command_says_it_once_the_engine_is_stopped(
    rig: EngineRig, capsys: pytest.CaptureFixture[str]
) -> None:
    state_dir = str(rig.settings.state_dir)
    with pytest.raises(FailedPrecondition, match="another engine"):
        restored_database(state_dir=state_dir)
    with pytest.raises(NotFound, match="there is no state"):
        restored_database(state_dir=f"{state_dir}/nothing")
    rig.close()
    restored_database(state_dir=state_dir)
    assert "2 volumes are in doubt" in capsys.readouterr().out
    rig.open()
    rig.wait_ready(2)
    assert 2 == rig.count(FAULTY)


@pytest.mark.postgres
def test_in_postgresql_too_each_node_finds_out_once(tmp_path: Path, postgres_url: str) -> None:
    """The counts of a node are set back by hand, as a restore of the whole database would."""
    rig = EngineRig(tmp_path / "site", database=postgres_url)
    rig.folder.mkdir()
    try:
        rig.open()
        rig.add_image()
        rig.add_pool(min_ready=1)
        rig.attach_and_wait("after")
        rig.wait_ready(1)
        rig.close()
        import psycopg  # noqa: PLC0415 - only where the marker says that it is there

        with psycopg.connect(postgres_url) as database:
            database.execute("UPDATE meta SET value = '1' WHERE key = 'commits/node1'")
        rig.open()
        rig.wait_ready(1)
        assert 1 == rig.count(FAULTY)
        rig.reopen()
        assert 1 == len(rig.events("DATABASE_RESTORED"))
    finally:
        rig.close()
