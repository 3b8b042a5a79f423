"""Rows that changes append: by one statement for a whole group, in the commit of the changes."""

from __future__ import annotations

import threading
from concurrent.futures import wait

import pytest

from clonepool.errors import Aborted, NotFound
from clonepool.store import events
from clonepool.store.connections import StateDatabase
from clonepool.store.database import Database
from clonepool.store.writer import Transaction, Writer
from tests.store import seed

TIMEOUT_S = 5


def tell(transaction: Transaction, text: str) -> None:
    """A change with an event of it."""
    transaction.sql("INSERT INTO meta(key, value) VALUES (?, '')", (text,))
    events.add(transaction, now=1.5, subject="pool/web", reason="TRIED", message=text)


def tell_and_fail(transaction: Transaction) -> None:
    tell(transaction, "failed")
    raise NotFound("no such thing")


def told(database: StateDatabase) -> list[str]:
    """The events' messages as a connection of its own reads them, oldest first."""
    return [row[0] for row in seed.rows_of(database, "SELECT message FROM event ORDER BY n")]


def kept(database: StateDatabase) -> set[str]:
    """The keys of what the changes wrote."""
    return {row[0] for row in seed.rows_of(database, "SELECT key FROM meta")}


def together(writer: Writer, changes: list[str]) -> None:
    """Run changes as one group; "failed" fails."""
    begun, go = threading.Event(), threading.Event()

    def hold(_transaction: Transaction) -> None:
        begun.set()
        assert go.wait(TIMEOUT_S)

    writer.submit(hold)
    assert begun.wait(TIMEOUT_S)
    futures = [
        writer.submit(
            tell_and_fail if text == "failed" else lambda each, text=text: tell(each, text)
        )
        for text in changes
    ]
    go.set()
    wait(futures, TIMEOUT_S)


def test_an_event_is_there_when_the_change_is_durable(
    database: StateDatabase, writer: Writer
) -> None:
    writer.write(lambda transaction: tell(transaction, "one"))
    assert ["one"] == told(database)


def test_a_group_s_events_are_one_statement_in_the_changes_order(
    sqlite: Database, sqlite_writer: Writer
) -> None:
    statements: list[str] = []
    sqlite_writer.write(lambda transaction: transaction._raw.set_trace_callback(statements.append))
    together(sqlite_writer, [f"{number:02}" for number in range(30)])
    assert [f"{number:02}" for number in range(30)] == told(sqlite)
    assert 1 == sum("INTO event" in statement for statement in statements)


def test_a_change_that_fails_tells_nothing(database: StateDatabase, writer: Writer) -> None:
    together(writer, ["before", "failed", "after"])
    assert ["before", "after"] == told(database)
    assert {"before", "after"} == kept(database)


def test_a_change_and_its_event_are_kept_both_or_neither(
    sqlite: Database, sqlite_writer: Writer
) -> None:
    """Were the events written in a commit of their own, the change would be there."""
    sqlite_writer.write(
        lambda transaction: transaction.sql(
            "CREATE TRIGGER full BEFORE INSERT ON event BEGIN SELECT RAISE(ABORT, 'full'); END"
        )
    )
    with pytest.raises(Aborted, match="full"):
        sqlite_writer.write(lambda transaction: tell(transaction, "one"))
    assert ([], set()) == (told(sqlite), kept(sqlite))


def test_more_rows_than_a_statement_takes_are_all_kept(
    database: StateDatabase, writer: Writer
) -> None:
    def many(transaction: Transaction) -> None:
        for number in range(7000):
            events.add(transaction, now=1.0, subject="a", reason="B", message=str(number))

    writer.write(many)
    assert [str(number) for number in range(7000)] == told(database)


def test_a_message_that_is_no_text_is_told_without_what_is_none(
    database: StateDatabase, writer: Writer
) -> None:
    """A path's bytes need not be UTF-8; refused by SQLite, they would fail the whole group."""
    writer.write(lambda transaction: tell_bytes(transaction, b"/srv/\xff.img"))
    assert ["/srv/?.img"] == told(database)


def tell_bytes(transaction: Transaction, path: bytes) -> None:
    text = path.decode(errors="surrogateescape")
    events.add(transaction, now=1.0, subject="image/web", reason="TRIED", message=text)
