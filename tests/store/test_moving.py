"""A state moves from SQLite to PostgreSQL whole, once, and nothing goes on with what is left."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

pytest.register_assert_rewrite("clonepool.testing.engines")

from clonepool.cli.database import migrate_database  # noqa: E402
from clonepool.domain.audit_check import check_lines  # noqa: E402
from clonepool.domain.model import PageRequest, ScrubPolicy  # noqa: E402
from clonepool.domain.states import ScrubMethod, VerifyMode, VolumeState  # noqa: E402
from clonepool.errors import (  # noqa: E402
    Aborted,
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unavailable,
)
from clonepool.store.postgres import moving  # noqa: E402
from clonepool.testing.engines import EngineRig  # noqa: E402
from tests.support.postgres import PostgresServer  # noqa: E402

pytestmark = pytest.mark.postgres


@pytest.fixture
def used(tmp_path: Path) -> Iterator[EngineRig]:
    """An engine on SQLite with some of everything: held, waiting, released, scrubbed, undone."""
    with EngineRig(tmp_path) as rig:
        rig.add_image()
        policy = ScrubPolicy(threshold=99, method=ScrubMethod.ZERO, verify=VerifyMode.FULL)
        rig.add_pool(min_ready=3, max_replicas=4, scrub=policy)
        first, second = rig.attach_and_wait("a"), rig.attach_and_wait("b")
        rig.release(first)
        rig.engine.scrub.start(pool="web")
        rig.wait_runs_over()
        rig.release(second)
        rig.engine.attachments.undo_release(attachment="b")
        rig.release(rig.attach_and_wait("c"))
        rig.wait_ready(3)
        yield rig


def path_of(rig: EngineRig) -> Path:
    return rig.settings.state_dir / "clonepool.db"


def seen(rig: EngineRig) -> object:
    """What callers see of the engine, secrets included."""
    engine = rig.engine
    attached, _token = engine.attachments.list(page=PageRequest())
    records, _token = engine.scrub.list_records(page=PageRequest())
    return (
        engine._state.engine_id,
        [engine._state.secrets.open(each.chap_secret, context=f"attachment/{each.id}")
         for each in rows(rig, "SELECT id, chap_secret FROM attachment ORDER BY n")],
        attached, rig.volumes(), rig.runs(), records, rig.events(), rig.image(), rig.pool(),
        list(engine.audit.export(since=0))[1:-1],
    )  # fmt: skip


def rows(rig: EngineRig, statement: str) -> list[object]:
    with rig.engine._state.read() as session:
        return list(session.connection().exec_driver_sql(statement))


def on_postgres(rig: EngineRig, url: str) -> EngineRig:
    """The same site with its engine's state there."""
    return EngineRig(rig.folder, storage=rig.storage, fabric=rig.fabric, database=url)


def test_an_engine_goes_on_where_the_one_on_sqlite_stopped(
    used: EngineRig, postgres_url: str
) -> None:
    before, clock = seen(used), used.clock
    used.close()
    moved = moving.move(path_of(used), postgres_url)
    assert 5 < sum(each.rows > 0 for each in moved)
    later = on_postgres(used, postgres_url)
    later.clock = clock
    later.open(start=False)
    assert before == seen(later)
    later.close()
    with later:
        later.release(later.attach_and_wait("d"))
        later.engine.attachments.undo_release(attachment="c")
        later.wait_for(lambda: later.count(VolumeState.READY) >= 1, what=later.volumes)
        checked = check_lines(list(later.engine.audit.export(since=0)))
        assert checked.complete


def test_numbers_go_on_behind_the_highest_that_was_ever_given(
    used: EngineRig, postgres_url: str
) -> None:
    newest = used.events()[-1].id
    used.engine._state.write(lambda transaction: transaction.sql("DELETE FROM event"))
    used.close()
    moving.move(path_of(used), postgres_url)
    with on_postgres(used, postgres_url) as later:
        later.attach_and_wait("d")
        assert newest < later.events()[0].id


def test_the_guards_are_on_again(used: EngineRig, postgres_url: str) -> None:
    used.close()
    moving.move(path_of(used), postgres_url)
    with on_postgres(used, postgres_url) as later:
        for statement in (
            "DELETE FROM volume",
            "DELETE FROM audit_entry",
            "UPDATE scrub_record SET method = 'zero'",
        ):
            with pytest.raises(Aborted, match="guards"):
                later.engine._state.write(lambda each, text=statement: each.sql(text))


def test_no_engine_starts_on_what_was_left_behind(used: EngineRig, postgres_url: str) -> None:
    used.close()
    moving.move(path_of(used), postgres_url)
    with pytest.raises(FailedPrecondition, match="was moved to postgresql://"):
        used.open()


def test_moved_again_it_finds_what_it_did(used: EngineRig, postgres_url: str) -> None:
    used.close()
    first = moving.move(path_of(used), postgres_url)
    assert first == moving.move(path_of(used), postgres_url)


def test_a_database_with_anything_else_in_it_is_refused(
    used: EngineRig, postgres_url: str, tmp_path: Path
) -> None:
    """And the source serves on."""
    (tmp_path / "other").mkdir()
    with EngineRig(tmp_path / "other", database=postgres_url):
        pass
    used.close()
    with pytest.raises(FailedPrecondition, match="not empty"):
        moving.move(path_of(used), postgres_url)
    used.open()


def test_a_move_that_was_cut_off_at_the_commit_is_repeated(
    used: EngineRig, postgres_url: str
) -> None:
    """The source was noted as moved already; nothing came to the target."""
    used.close()
    moving._note(path_of(used), "postgresql://somewhere")
    moved = moving.move(path_of(used), postgres_url)
    assert sum(each.rows for each in moved) > 0
    with closing(sqlite3.connect(path_of(used))) as source:
        value = "SELECT value FROM meta WHERE key = 'moved_to'"
        assert postgres_url == source.execute(value).fetchone()[0]
    with on_postgres(used, postgres_url) as later:
        later.attach_and_wait("d")


def test_a_copy_that_differs_is_not_committed(
    used: EngineRig, postgres: PostgresServer, postgres_url: str
) -> None:
    database = postgres_url.split("/")[3].partition("?")[0]
    postgres.run_sql(
        "CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN NEW.message := 'spoilt'; RETURN NEW; END $$",
        database=database,
    )
    postgres.run_sql(
        "CREATE TRIGGER spoil BEFORE INSERT ON event FOR EACH ROW EXECUTE FUNCTION spoil()",
        database=database,
    )
    used.close()
    with pytest.raises(DataLoss, match="table event"):
        moving.move(path_of(used), postgres_url)
    assert [(0,)] == postgres.run_sql("SELECT count(*) FROM volume", database=database)
    used.open()


def test_a_server_that_is_away_leaves_the_source_as_it_was(used: EngineRig) -> None:
    used.close()
    with pytest.raises(Unavailable, match="can't be opened"):
        moving.move(path_of(used), "postgresql://u:geheim@127.0.0.1:1/x")
    used.open()


def test_the_command_refuses_while_an_engine_runs_and_says_what_it_moved(
    used: EngineRig,
    postgres_url: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state_dir = str(used.settings.state_dir)
    with pytest.raises(FailedPrecondition, match="another engine"):
        migrate_database(to=postgres_url, state_dir=state_dir)
    used.close()
    for given in ({"to": "postgresql://u:secret@host/db"}, {}):
        with pytest.raises(InvalidArgument) as refused:
            migrate_database(state_dir=state_dir, **given)
        assert "secret" not in str(refused.value)
    with pytest.raises(NotFound, match="there is no state"):
        migrate_database(to=postgres_url, state_dir=f"{state_dir}/nothing")
    monkeypatch.setenv("CLONEPOOL_DATABASE", postgres_url)
    migrate_database(state_dir=state_dir)
    shown = capsys.readouterr().out
    assert "volume" in shown
    assert "the state is in postgresql://" in shown


def test_a_state_whose_key_is_not_there_is_not_moved(used: EngineRig, postgres_url: str) -> None:
    used.close()
    (used.settings.state_dir / "secret.key").unlink()
    with pytest.raises(FailedPrecondition, match=r"secret\.key is missing"):
        migrate_database(to=postgres_url, state_dir=str(used.settings.state_dir))
