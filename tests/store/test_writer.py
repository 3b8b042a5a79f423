"""The one writer: each change all or nothing, many in one commit, durable when it answers."""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import pytest
from sqlmodel import select

from clonepool.crash_points import Point, observed
from clonepool.errors import Aborted, NotFound, Unavailable
from clonepool.store import tables
from clonepool.store.connections import StateDatabase
from clonepool.store.database import Database
from clonepool.store.writer import Transaction, Writer
from tests.store import seed

TIMEOUT_S = 5


def put(key: str, value: str = "x") -> Callable[[Transaction], None]:
    """A change that adds a row by hand."""
    return lambda transaction: insert(transaction, key, value)


def insert(transaction: Transaction, key: str, value: str = "x") -> None:
    transaction.sql("INSERT INTO meta(key, value) VALUES (?, ?)", (key, value))


def seen_by_others(database: StateDatabase) -> dict[str, str]:
    """What a connection of its own reads."""
    return dict(seed.rows_of(database, "SELECT key, value FROM meta"))


class Held:
    """A change that keeps the writer busy until it is let go."""

    def __init__(self, writer: Writer) -> None:
        self._begun = threading.Event()
        self._go = threading.Event()
        self.future = writer.submit(self._change)
        assert self._begun.wait(TIMEOUT_S)

    def _change(self, _transaction: Transaction) -> None:
        self._begun.set()
        assert self._go.wait(TIMEOUT_S)

    def let_go(self) -> None:
        self._go.set()
        self.future.result(TIMEOUT_S)


@pytest.fixture
def commits(writer: Writer) -> Iterator[list[Point]]:
    """Each commit of the writer from now on."""
    found: list[Point] = []
    with observed(lambda point, _detail: found.append(point) if point is Point.COMMITTED else None):
        yield found


def test_what_is_written_is_seen_by_others_when_write_returns(
    database: StateDatabase, writer: Writer
) -> None:
    writer.write(put("a", "1"))
    assert {"a": "1"} == seen_by_others(database)


def test_the_changes_result_comes_back(writer: Writer) -> None:
    answer = writer.write(lambda transaction: transaction.sql("SELECT 6 * 7").fetchone()[0])
    assert 42 == answer


def test_changes_that_wait_share_one_commit(
    database: StateDatabase, writer: Writer, commits: list[Point]
) -> None:
    held = Held(writer)
    futures = [writer.submit(put(f"k{number}")) for number in range(20)]
    held.let_go()
    wait(futures, TIMEOUT_S)
    assert 2 == len(commits)
    assert 20 == len(seen_by_others(database))


def test_a_group_has_a_bound(writer: Writer, commits: list[Point]) -> None:
    """The first of very many does not wait for the last."""
    held = Held(writer)
    futures = [writer.submit(put(f"k{number}")) for number in range(130)]
    held.let_go()
    wait(futures, TIMEOUT_S)
    assert 4 == len(commits)


def test_nothing_of_a_group_is_told_before_it_is_committed(
    database: StateDatabase, writer: Writer
) -> None:
    held = Held(writer)
    first = writer.submit(put("first"))
    second_runs, second_ends = threading.Event(), threading.Event()

    def second(_transaction: Transaction) -> None:
        second_runs.set()
        assert second_ends.wait(TIMEOUT_S)

    writer.submit(second)
    held.let_go()
    assert second_runs.wait(TIMEOUT_S)
    assert not first.done()
    assert {} == seen_by_others(database)
    second_ends.set()
    first.result(TIMEOUT_S)


def fail_plainly(transaction: Transaction) -> None:
    insert(transaction, "gone")
    raise NotFound("no such thing")


def fail_in_sql(transaction: Transaction) -> None:
    insert(transaction, "gone")
    insert(transaction, "gone")


def fail_in_session(transaction: Transaction) -> None:
    transaction.session.add(tables.Meta(key="gone", value="1"))
    transaction.session.flush()
    transaction.session.add(tables.Meta(key="kept-a", value="2"))
    transaction.session.flush()


def fail_at_the_end(transaction: Transaction) -> None:
    insert(transaction, "gone")
    transaction.session.add(tables.Meta(key="kept-a", value="2"))


def fail_with_a_defect(transaction: Transaction) -> None:
    insert(transaction, "gone")
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (fail_plainly, NotFound),
        (fail_in_sql, Aborted),
        (fail_in_session, Aborted),
        (fail_at_the_end, Aborted),
        (fail_with_a_defect, ZeroDivisionError),
    ],
)
def test_a_change_that_fails_undoes_itself_and_no_neighbour(
    database: StateDatabase,
    writer: Writer,
    change: Callable[[Transaction], None],
    kind: type[Exception],
) -> None:
    held = Held(writer)
    before = writer.submit(put("kept-a"))
    failing = writer.submit(change)
    after = writer.submit(put("kept-b"))
    held.let_go()
    with pytest.raises(kind):
        failing.result(TIMEOUT_S)
    before.result(TIMEOUT_S)
    after.result(TIMEOUT_S)
    assert {"kept-a", "kept-b"} == seen_by_others(database).keys()


def test_the_writer_goes_on_after_a_failure(database: StateDatabase, writer: Writer) -> None:
    for change in (fail_in_sql, fail_with_a_defect):
        with pytest.raises((Aborted, ZeroDivisionError)):
            writer.write(change)
        writer.write(put(change.__name__))
    assert {"fail_in_sql", "fail_with_a_defect"} == seen_by_others(database).keys()


def test_a_broken_guard_says_which(writer: Writer) -> None:
    writer.write(put("a"))
    with pytest.raises(Aborted, match=r"meta(\.key|_pkey)") as refused:
        writer.write(put("a"))
    assert "GUARD" == refused.value.reason


def test_session_and_hand_written_sql_see_each_other(writer: Writer) -> None:
    def change(transaction: Transaction) -> list[str]:
        row = tables.Meta(key="a", value="session")
        transaction.session.add(row)
        seen = [transaction.sql("SELECT value FROM meta").fetchone()[0]]
        transaction.sql("UPDATE meta SET value = 'sql'")
        seen.append(row.value)
        row.value = "session again"
        transaction.session.add(row)
        seen.append(transaction.sql("SELECT value FROM meta").fetchone()[0])
        return seen

    assert ["session", "sql", "session again"] == writer.write(change)


def test_one_changes_session_is_not_the_nexts(writer: Writer) -> None:
    def load(transaction: Transaction) -> tables.Meta:
        return transaction.session.exec(select(tables.Meta)).one()

    writer.write(put("a", "1"))
    held = Held(writer)
    first = writer.submit(load)
    second = writer.submit(load)
    held.let_go()
    assert first.result(TIMEOUT_S) is not second.result(TIMEOUT_S)


def test_a_deferred_change_is_durable_with_the_next_commit(
    database: StateDatabase, writer: Writer, commits: list[Point]
) -> None:
    held = Held(writer)
    deferred = writer.defer(put("deferred"))
    urgent = writer.submit(put("urgent"))
    held.let_go()
    urgent.result(TIMEOUT_S)
    assert deferred.done()
    assert 2 == len(commits)
    assert {"deferred", "urgent"} == seen_by_others(database).keys()


def test_a_deferred_change_comes_even_when_nothing_else_does(
    database: StateDatabase, writer: Writer
) -> None:
    writer.defer(put("deferred")).result(TIMEOUT_S)
    assert {"deferred"} == seen_by_others(database).keys()


def test_closing_finishes_what_was_submitted(database: StateDatabase) -> None:
    writer = Writer(database)
    held = Held(writer)
    futures = [writer.submit(put(f"k{number}")) for number in range(100)]
    futures.append(writer.defer(put("deferred")))
    closing = threading.Thread(target=writer.close)
    closing.start()
    held.let_go()
    closing.join(TIMEOUT_S)
    assert all(future.done() for future in futures)
    assert 101 == len(seen_by_others(database))


def test_after_closing_nothing_is_taken(database: StateDatabase) -> None:
    writer = Writer(database)
    writer.close()
    for ask in (writer.submit, writer.defer):
        with pytest.raises(Unavailable, match="shutting down"):
            ask(put("late"))


class SlowQueue(queue.SimpleQueue):
    """Its first job takes its time between the question whether it may and its place in line."""

    begun = threading.Event()
    go_on = threading.Event()

    def put(self, item: Any, *more: Any) -> None:
        if item is not None and not self.begun.is_set():
            self.begun.set()
            assert self.go_on.wait(TIMEOUT_S)
        super().put(item, *more)


def test_who_submits_while_it_closes_is_answered(
    database: StateDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is left waiting for ever behind the end of the queue."""
    with monkeypatch.context() as patched:
        patched.setattr(queue, "SimpleQueue", SlowQueue)
        writer = Writer(database)
    with ThreadPoolExecutor(2) as threads:
        submitted = threads.submit(writer.submit, put("late"))
        assert SlowQueue.begun.wait(TIMEOUT_S)
        closed = threads.submit(writer.close)
        wait([closed], 0.2)
        SlowQueue.go_on.set()
        submitted.result(TIMEOUT_S).result(TIMEOUT_S)
        closed.result(TIMEOUT_S)
    assert {"late"} == seen_by_others(database).keys()


def test_a_full_disk_answers_everyone_and_the_writer_goes_on(
    sqlite: Database, sqlite_writer: Writer
) -> None:
    """The database may not grow: the whole group fails, with the reason; later all is well."""
    pages = sqlite_writer.write(
        lambda transaction: transaction.sql("PRAGMA page_count").fetchone()[0]
    )
    sqlite_writer.write(lambda transaction: transaction.sql(f"PRAGMA max_page_count = {pages}"))
    held = Held(sqlite_writer)
    small = sqlite_writer.submit(put("small"))
    large = sqlite_writer.submit(put("large", "x" * 10**6))
    after = sqlite_writer.submit(put("after"))
    held._go.set()
    outcomes = [future.exception(TIMEOUT_S) for future in (small, large, after)]
    assert isinstance(outcomes[1], Unavailable)
    assert "full" in str(outcomes[1])
    written = {
        key for key, error in zip(("small", "large", "after"), outcomes, strict=True) if not error
    }
    assert all(isinstance(error, Unavailable) for error in outcomes if error)
    assert written == seen_by_others(sqlite).keys()
    sqlite_writer.write(lambda transaction: transaction.sql("PRAGMA max_page_count = 1000000"))
    sqlite_writer.write(put("large", "x" * 10**6))
    assert "large" in seen_by_others(sqlite)


def test_a_commit_that_fails_answers_every_waiter_with_unavailable(
    sqlite: Database, sqlite_writer: Writer
) -> None:
    """A deferred constraint breaks at the commit itself: nothing of the group is kept."""
    sqlite_writer.write(lambda transaction: transaction._raw.execute("SELECT 1"))
    blocker = sqlite3.connect(sqlite.path, isolation_level=None, check_same_thread=False)
    sqlite_writer.write(lambda transaction: transaction._raw.execute("PRAGMA busy_timeout = 50"))
    blocker.execute("BEGIN IMMEDIATE")
    futures = [sqlite_writer.submit(put(f"k{number}")) for number in range(3)]
    for future in futures:
        assert isinstance(future.exception(TIMEOUT_S), Unavailable)
    blocker.execute("ROLLBACK")
    blocker.close()
    assert {} == seen_by_others(sqlite)
    sqlite_writer.write(put("later"))
    assert {"later"} == seen_by_others(sqlite).keys()
