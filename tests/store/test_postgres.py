"""What only PostgreSQL can do to a state: other nodes, lost sessions, its clock, its plans."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlmodel import SQLModel, select

from clonepool.crash_points import Point, observed
from clonepool.errors import FailedPrecondition, Unavailable
from clonepool.store import allocation, tables
from clonepool.store.migrate import configuration
from clonepool.store.postgres import connect, ddl
from clonepool.store.postgres.database import PostgresDatabase
from clonepool.store.postgres.locks import TAKE
from clonepool.store.state import State
from clonepool.store.writer import Transaction, Writer
from tests.store import seed
from tests.support.postgres import PostgresServer
from tests.support.waiting import wait_for

pytestmark = pytest.mark.postgres
TIMEOUT_S = 20


@pytest.fixture
def name(postgres_url: str) -> str:
    return postgres_url.split("/")[3].partition("?")[0]


@pytest.fixture
def database(postgres_url: str) -> Iterator[PostgresDatabase]:
    opened = PostgresDatabase(postgres_url, node="n1")
    yield opened
    opened.close()


def put(key: str) -> Any:
    return lambda transaction: transaction.sql("INSERT INTO meta VALUES (?, '')", (key,))


def keys(database: PostgresDatabase) -> set[str]:
    return {row[0] for row in seed.rows_of(database, "SELECT key FROM meta")}


# the schema


def test_the_migrations_make_what_the_tables_declare(database: PostgresDatabase) -> None:
    with database._writing_engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert [] == compare_metadata(context, SQLModel.metadata)


_SCHEMA = """
    SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL SELECT 'check', conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT 'guard', proname, prosrc FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace
    UNION ALL SELECT 'trigger', tgname, pg_get_triggerdef(oid) FROM pg_trigger
        WHERE NOT tgisinternal
    UNION ALL SELECT 'column', table_name || '.' || column_name,
        data_type || ' ' || is_nullable || ' ' || coalesce(collation_name, '')
        FROM information_schema.columns WHERE table_schema = 'public'
    ORDER BY 1, 2, 3
"""


def test_down_and_up_again_comes_to_the_same_schema(database: PostgresDatabase) -> None:
    before = seed.rows_of(database, _SCHEMA)
    config = configuration()
    with database._writing_engine.connect() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        left = [row[:2] for row in connection.exec_driver_sql(_SCHEMA) if row[0] != "column"]
        assert [("check", "alembic_version_pkc"), ("index", "alembic_version_pkc")] == left
        command.upgrade(config, "head")
        connection.commit()
    assert before == seed.rows_of(database, _SCHEMA)
    assert {"index", "check", "guard", "trigger", "column"} == {row[0] for row in before}


def test_every_partial_index_is_partial_here_too(database: PostgresDatabase) -> None:
    declared = {
        index.name
        for table in SQLModel.metadata.tables.values()
        for index in table.indexes
        if index.dialect_options["sqlite"]["where"] is not None
    }
    found = {
        row[1] for row in seed.rows_of(database, _SCHEMA) if row[0] == "index" and "WHERE" in row[2]
    }
    assert declared == found


def test_texts_are_in_the_order_of_their_bytes_and_numbers_have_64_bits(
    database: PostgresDatabase,
) -> None:
    """Whatever the database's own language is; a C library that changes it breaks no index."""
    columns = {
        row[2] for row in seed.rows_of(database, _SCHEMA)
        if row[0] == "column" and not row[1].startswith("alembic_version.")
    }  # fmt: skip
    kinds = {kind.replace(" NO ", " ").replace(" YES ", " ").strip() for kind in columns}
    assert {"text C", "bigint", "boolean", "double precision"} == kinds


def test_hot_tables_are_vacuumed_early(database: PostgresDatabase) -> None:
    found = dict(seed.rows_of(database, "SELECT relname, reloptions FROM pg_class"))
    for table in ddl._HOT_TABLES:
        assert "autovacuum_vacuum_scale_factor=0.01" in found[table]


def test_two_engines_that_start_on_an_empty_database_make_it_once(postgres: PostgresServer) -> None:
    with postgres.database() as empty, ThreadPoolExecutor(4) as threads:
        opened = list(threads.map(lambda _: PostgresDatabase(postgres.url(empty)), range(4)))
        for each in opened:
            each.close()
        assert [(1,)] == postgres.run_sql("SELECT count(*) FROM alembic_version", database=empty)


def test_a_server_that_is_too_old_is_refused(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "OLDEST", 99)
    with pytest.raises(FailedPrecondition, match="needs 99 or newer"):
        PostgresDatabase(postgres_url)


def test_a_database_that_can_t_hold_every_name_is_refused(postgres: PostgresServer) -> None:
    postgres.run_sql(
        "CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'"
    )
    with pytest.raises(FailedPrecondition, match="encoded in LATIN1"):
        PostgresDatabase(postgres.url("latin"))
    postgres.run_sql("DROP DATABASE latin")


def test_numbers_beyond_32_bits_are_kept(database: PostgresDatabase) -> None:
    writer = Writer(database)
    seed.write_basics(writer)
    writer.write(lambda transaction: seed.pool(transaction, "big", id="big", image_id="image-web"))

    def change(transaction: Transaction) -> int:
        row = transaction.session.get_one(tables.Pool, "big")
        row.max_replicas = 2**40
        transaction.session.add(row)
        found = transaction.session.exec(
            select(tables.Pool.name).where(tables.Pool.max_replicas > 2**39)
        )
        return len(found.all())

    assert 1 == writer.write(change)
    writer.close()


# the hot path


def test_claiming_reads_the_ready_volumes_by_their_index(database: PostgresDatabase) -> None:
    writer = Writer(database)
    seed.write_basics(writer)
    writer.write(lambda transaction: seed.ready_volumes(transaction, 2000))

    def plan(transaction: Transaction) -> str:
        transaction.sql("ANALYZE volume")
        values = dict.fromkeys(("user_name", "user_kind", "server"), "x") | {
            "attachment": "a", "now": 1.0, "pool": "pool-web", "version": "version-web",
            "place": 2**62, "hold": 2**62,
        }  # fmt: skip
        rows = transaction.sql(f"EXPLAIN {allocation._TAKE}", values).fetchall()
        return "\n".join(row[0] for row in rows)

    found = writer.write(plan)
    writer.close()
    assert "ix_volume_ready" in found
    assert "Sort" not in found
    assert "Seq Scan on volume" not in found


# several writers


def test_one_writer_of_all_nodes_writes_at_a_time(
    postgres_url: str, database: PostgresDatabase
) -> None:
    """Check, then write, as the store does it: of many nodes exactly one finds nothing."""
    others = [PostgresDatabase(postgres_url, node=f"n{number}") for number in range(4)]
    writers = [Writer(each) for each in others]

    def first(transaction: Transaction) -> bool:
        if transaction.sql("SELECT 1 FROM meta WHERE value = 'mine'").fetchone() is not None:
            return False
        seed.insert(transaction, "meta", key=str(threading.get_ident()), value="mine")
        return True

    futures = [writer.submit(first) for _ in range(25) for writer in writers]
    assert 1 == sum(future.result(TIMEOUT_S) for future in futures)
    for each in (*writers, *others):
        each.close()


def test_a_node_that_stands_still_in_a_change_is_passed_over(
    postgres_url: str, database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its session is ended; awake again, it is told that nothing of its change was taken."""
    monkeypatch.setattr(
        connect, "WRITING", connect.WRITING | {"idle_in_transaction_session_timeout": "300ms"}
    )
    monkeypatch.setattr("clonepool.store.postgres.database.WRITING", connect.WRITING)
    paused = PostgresDatabase(postgres_url, node="paused")
    writer, other = Writer(paused), Writer(database)
    stands, goes_on = threading.Event(), threading.Event()

    def stand_still(transaction: Transaction) -> None:
        put("lost")(transaction)
        stands.set()
        assert goes_on.wait(TIMEOUT_S)

    lost = writer.submit(stand_still)
    assert stands.wait(TIMEOUT_S)
    other.write(put("passed"))
    goes_on.set()
    with pytest.raises(Unavailable):
        lost.result(TIMEOUT_S)
    writer.write(put("later"))
    for each in (writer, other, paused):
        each.close()
    assert {"passed", "later"} == keys(database)


# what is lost


def test_a_writer_whose_session_ended_while_it_was_idle_fails_nobody(
    postgres: PostgresServer, name: str, database: PostgresDatabase
) -> None:
    writer = Writer(database)
    writer.write(put("a"))
    end_sessions(postgres, name)
    writer.write(put("b"))
    assert writer.take_outage() is None
    writer.close()
    assert {"a", "b"} == keys(database)


def test_a_session_that_ends_in_the_middle_fails_the_whole_group_and_is_told_of(
    postgres: PostgresServer, name: str, database: PostgresDatabase
) -> None:
    writer = Writer(database)
    writer.write(put("before"))
    ends = [Point.COMMITTING]

    def end(reached: Point, _detail: str) -> None:
        if ends and reached is ends[0]:
            ends.clear()
            postgres.end_sessions(name)

    with observed(end), pytest.raises(Unavailable, match="try again") as lost:
        writer.write(put("lost"))
    assert "DATABASE" == lost.value.reason
    writer.write(put("after"))
    outage = writer.take_outage()
    assert outage is not None
    assert "terminating connection" in outage.text
    writer.close()
    assert {"before", "after"} == keys(database)


def test_readers_whose_sessions_ended_are_made_anew(
    postgres: PostgresServer, name: str, database: PostgresDatabase
) -> None:
    """Between two reads nobody notices; in the middle of one it is Unavailable."""
    query = text("SELECT count(*) FROM pool")
    with database.read() as one, database.read() as two:
        for session in (one, two):
            session.execute(query)
    end_sessions(postgres, name)
    with database.read() as session:
        assert 0 == session.execute(query).scalar_one()
    with pytest.raises(Unavailable, match="does not answer") as lost:
        read_twice(database, query, between=lambda: end_sessions(postgres, name))
    assert "DATABASE" == lost.value.reason


def end_sessions(postgres: PostgresServer, name: str) -> None:
    """End all that use a database, and wait until they are gone."""
    assert postgres.end_sessions(name) > 0
    wait_for(lambda: not postgres.end_sessions(name), what="the end of all sessions")


def read_twice(database: PostgresDatabase, query: Any, *, between: Callable[[], None]) -> None:
    with database.read() as session:
        session.execute(query)
        between()
        session.execute(query)


def test_a_reader_sees_one_snapshot_and_changes_nothing(database: PostgresDatabase) -> None:
    writer = Writer(database)
    writer.write(put("a"))
    count = text("SELECT count(*) FROM meta")
    with database.read() as session:
        before = session.execute(count).scalar_one()
        writer.write(put("b"))
        assert before == session.execute(count).scalar_one()
        with pytest.raises(Exception, match="read-only"):
            session.execute(text("DELETE FROM meta"))
    writer.close()


def test_a_change_that_others_disturb_is_tried_again(
    postgres_url: str, database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who changes rows by hand holds one of them for a while."""
    monkeypatch.setattr(connect, "WRITING", connect.WRITING | {"lock_timeout": "100ms"})
    monkeypatch.setattr("clonepool.store.postgres.database.WRITING", connect.WRITING)
    hasty = PostgresDatabase(postgres_url)
    writer = Writer(hasty)
    writer.write(put("row"))
    tries = []
    with psycopg.connect(postgres_url) as hand:
        hand.execute("UPDATE meta SET value = 'by hand' WHERE key = 'row'")

        def change(transaction: Transaction) -> None:
            tries.append(1)
            if len(tries) == 2:
                hand.commit()
            transaction.sql("UPDATE meta SET value = value || '!' WHERE key = 'row'")

        writer.write(change)
    writer.close()
    hasty.close()
    assert 2 == len(tries)
    assert [("by hand!",)] == seed.rows_of(database, "SELECT value FROM meta")


def test_the_turn_is_waited_for_only_so_long(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "WRITING", connect.WRITING | {"lock_timeout": "100ms"})
    monkeypatch.setattr("clonepool.store.postgres.database.WRITING", connect.WRITING)
    hasty = PostgresDatabase(postgres_url)
    writer = Writer(hasty)
    with psycopg.connect(postgres_url) as hand:
        hand.execute(TAKE)
        with pytest.raises(Unavailable, match="lock timeout"):
            writer.write(put("late"))
    writer.write(put("late"))
    writer.close()
    hasty.close()


# the clock


def test_time_is_the_database_s(postgres: PostgresServer, database: PostgresDatabase) -> None:
    assert database.clock is not None
    before = database.clock()
    ((at,),) = postgres.run_sql("SELECT extract(epoch FROM clock_timestamp())::float8")
    assert before - 0.5 < at < database.clock() + 0.5


def test_the_clock_is_asked_again_now_and_then(
    database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine whose own clock drifts gives leases by the database's all the same."""
    clock = database._clock
    clock._ahead_s += 1000
    clock._read_at = -1e9
    writer = Writer(database)
    writer.write(put("a"))
    writer.close()
    assert abs(clock() - time.time()) < 5


def test_an_engine_stamps_by_the_database_s_clock_unless_it_is_given_one(
    tmp_path: Path, postgres_url: str
) -> None:
    state = State(folder=tmp_path, node="n1", clock=None, url=postgres_url)
    assert state.clock is state.database.clock
    state.close()
    given = State(folder=tmp_path, node="n1", clock=lambda: 1.0, url=postgres_url)
    assert 1.0 == given.clock()
    given.close()


# what is shared


def test_nodes_share_the_state_s_id_and_its_key(tmp_path: Path, postgres_url: str) -> None:
    key = tmp_path / "shared.key"
    states = []
    for node in ("n1", "n2"):
        folder = tmp_path / node
        folder.mkdir()
        states.append(State(folder=folder, node=node, clock=None, url=postgres_url, key_path=key))
    first, second = states
    assert first.engine_id == second.engine_id
    assert "x" == second.secrets.open(first.secrets.seal("x", context="c"), context="c")
    for each in states:
        each.close()


def test_a_node_with_another_key_does_not_start(tmp_path: Path, postgres_url: str) -> None:
    for node in ("n1", "n2"):
        (tmp_path / node).mkdir()
    State(folder=tmp_path / "n1", node="n1", clock=None, url=postgres_url).close()
    with pytest.raises(FailedPrecondition, match="is missing"):
        State(folder=tmp_path / "n2", node="n2", clock=None, url=postgres_url)
    assert [] == list((tmp_path / "n2").iterdir())
    key = tmp_path / "n2" / "secret.key"
    key.write_bytes(b"x" * 32)
    key.chmod(0o600)
    with pytest.raises(FailedPrecondition, match="is another one"):
        State(folder=tmp_path / "n2", node="n2", clock=None, url=postgres_url)


def test_nothing_is_left_behind_when_it_is_closed(
    postgres: PostgresServer, name: str, postgres_url: str, tmp_path: Path
) -> None:
    state = State(folder=tmp_path, node="n1", clock=None, url=postgres_url)
    with state.read() as session:
        session.execute(text("SELECT 1"))
    state.close()
    sessions = f"SELECT 1 FROM pg_stat_activity WHERE datname = '{name}'"  # noqa: S608 - ours
    wait_for(lambda: not postgres.run_sql(sessions), what="the end of its sessions")
