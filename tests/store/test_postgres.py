"""What only PostgreSQL can do to a state: other nodes, lost sessions, its clock, its plans."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from clonepool.crash_points import Point, observed
from clonepool.errors import FailedPrecondition, Unavailable
from clonepool.store import allocation
from clonepool.store.postgres import connect
from clonepool.store.postgres.database import PostgresDatabase
from clonepool.store.postgres.locks import TAKE
from clonepool.store.state import State
from clonepool.store.writer import Transaction, Writer
from tests.store import seed
from tests.support.postgres import PostgresServer
from tests.support.waiting import wait_for

pytestmark = pytest.mark.postgres
TIMEOUT_S = 20


def put(key: str) -> Any:
    return lambda transaction: transaction.sql("INSERT INTO meta VALUES (?, '')", (key,))


def keys(database: PostgresDatabase) -> set[str]:
    return {row[0] for row in seed.rows_of(database, "SELECT key FROM meta")}


# the hot path


def test_claiming_reads_the_ready_volumes_by_their_index(shared: PostgresDatabase) -> None:
    writer = Writer(shared)
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
    postgres: PostgresServer, postgres_name: str, postgres_url: str
) -> None:
    """Check, then write, as the store does it: who waited for its turn sees what the others did."""
    nodes = [PostgresDatabase(postgres_url, node=f"n{number}") for number in range(4)]
    writers = [Writer(each) for each in nodes]
    for writer in writers:
        # connected beforehand: all come at once
        writer.write(lambda transaction: transaction.sql("SELECT 1"))
    where = f"locktype = 'advisory' AND NOT granted AND datname = '{postgres_name}'"
    waiting = f"SELECT 1 FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE {where}"  # noqa: S608

    def first(transaction: Transaction) -> bool:
        if transaction.sql("SELECT 1 FROM meta WHERE value = 'mine'").fetchone() is not None:
            return False
        wait_for(lambda: len(postgres.run_sql(waiting)) == 3, what="the others", timeout_s=5)
        seed.insert(transaction, "meta", key=str(threading.get_ident()), value="mine")
        return True

    futures = [writer.submit(first) for writer in writers]
    assert 1 == sum(future.result(TIMEOUT_S) for future in futures)
    for each in (*writers, *nodes):
        each.close()


def test_a_node_that_stands_still_in_a_change_is_passed_over(
    postgres_url: str, shared: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its session is ended; awake again, it is told that nothing of its change was taken."""
    monkeypatch.setattr(
        connect, "WRITING", connect.WRITING | {"idle_in_transaction_session_timeout": "300ms"}
    )
    monkeypatch.setattr("clonepool.store.postgres.database.WRITING", connect.WRITING)
    paused = PostgresDatabase(postgres_url, node="paused")
    writer, other = Writer(paused), Writer(shared)
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
    assert {"passed", "later"} == keys(shared)


# what is lost


def test_a_writer_whose_session_ended_while_it_was_idle_fails_nobody(
    postgres: PostgresServer, postgres_name: str, shared: PostgresDatabase
) -> None:
    writer = Writer(shared)
    writer.write(put("a"))
    end_sessions(postgres, postgres_name)
    writer.write(put("b"))
    assert writer.take_outage() is None
    writer.close()
    assert {"a", "b"} == keys(shared)


def test_a_session_that_ends_in_the_middle_fails_the_whole_group_and_is_told_of(
    postgres: PostgresServer, postgres_name: str, shared: PostgresDatabase
) -> None:
    writer = Writer(shared)
    writer.write(put("before"))
    ends = [Point.COMMITTING]

    def end(reached: Point, _detail: str) -> None:
        if ends and reached is ends[0]:
            ends.clear()
            postgres.end_sessions(postgres_name)

    with observed(end), pytest.raises(Unavailable, match="try again") as lost:
        writer.write(put("lost"))
    assert "DATABASE" == lost.value.reason
    writer.write(put("after"))
    outage = writer.take_outage()
    assert outage is not None
    assert "terminating connection" in outage.text
    writer.close()
    assert {"before", "after"} == keys(shared)


def test_readers_whose_sessions_ended_are_made_anew(
    postgres: PostgresServer, postgres_name: str, shared: PostgresDatabase
) -> None:
    """Between two reads nobody notices; in the middle of one it is Unavailable."""
    query = text("SELECT count(*) FROM pool")
    with shared.read() as one, shared.read() as two:
        for session in (one, two):
            session.execute(query)
    end_sessions(postgres, postgres_name)
    with shared.read() as session:
        assert 0 == session.execute(query).scalar_one()
    with pytest.raises(Unavailable, match="does not answer") as lost:
        read_twice(shared, query, between=lambda: end_sessions(postgres, postgres_name))
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


def test_a_reader_sees_one_snapshot_and_changes_nothing(shared: PostgresDatabase) -> None:
    writer = Writer(shared)
    writer.write(put("a"))
    count = text("SELECT count(*) FROM meta")
    with shared.read() as session:
        before = session.execute(count).scalar_one()
        writer.write(put("b"))
        assert before == session.execute(count).scalar_one()
        with pytest.raises(Exception, match="read-only"):
            session.execute(text("DELETE FROM meta"))
    writer.close()


def test_a_slow_reader_is_not_cut_off_as_a_writer_that_stands_still_is(
    shared: PostgresDatabase,
) -> None:
    """Who exports the audit holds its snapshot for as long as the caller takes."""
    show = "SHOW idle_in_transaction_session_timeout"
    assert [("10min",)] == seed.rows_of(shared, show)
    with shared._writing_engine.connect() as connection:
        assert "10s" == connection.exec_driver_sql(show).scalar_one()


def test_a_change_that_others_disturb_is_tried_again(
    postgres_url: str, shared: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
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
    assert [("by hand!",)] == seed.rows_of(shared, "SELECT value FROM meta")


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


def test_time_is_the_database_s(postgres: PostgresServer, shared: PostgresDatabase) -> None:
    assert shared.clock is not None
    before = shared.clock()
    ((at,),) = postgres.run_sql("SELECT extract(epoch FROM clock_timestamp())::float8")
    assert before - 0.5 < at < shared.clock() + 0.5


def test_the_clock_is_asked_again_now_and_then(
    shared: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine whose own clock drifts gives leases by the database's all the same."""
    clock = shared._clock
    clock._ahead_s += 1000
    clock._read_at = -1e9
    writer = Writer(shared)
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
    postgres: PostgresServer, postgres_name: str, postgres_url: str, tmp_path: Path
) -> None:
    state = State(folder=tmp_path, node="n1", clock=None, url=postgres_url)
    with state.read() as session:
        session.execute(text("SELECT 1"))
    state.close()
    sessions = f"SELECT 1 FROM pg_stat_activity WHERE datname = '{postgres_name}'"  # noqa: S608 - ours
    wait_for(lambda: not postgres.run_sql(sessions), what="the end of its sessions")
