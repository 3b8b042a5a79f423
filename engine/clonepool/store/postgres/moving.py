"""A state in SQLite moved to PostgreSQL: copied, compared, and only then committed.

All in one transaction. The source stays as it was, but for a note that no engine starts on it any
more: two engines on two copies would give the same volume to two servers. The note is written
before the commit, so a move that is cut off is repeated, and finds what it did.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg
from sqlalchemy import Boolean, Table
from sqlmodel import SQLModel

from clonepool.database_url import shown_url
from clonepool.errors import DATABASE_AWAY, DataLoss, FailedPrecondition, Unavailable
from clonepool.store import tables  # noqa: F401 - registers the tables
from clonepool.store.meta_keys import MOVED_TO
from clonepool.store.postgres.connect import WRITING, connect, said
from clonepool.store.postgres.database import PostgresDatabase
from clonepool.store.postgres.locks import TAKE

_AT_A_TIME: Final = 1000
# to read a large source takes longer than an engine may pause in a change
_COPYING: Final = {**WRITING, "idle_in_transaction_session_timeout": "0"}
# tables whose guards say how a row may come to its state, which one that is copied did before
_GUARDED: Final = ("volume", "scrub_record", "audit_entry")


@dataclass(frozen=True, kw_only=True)
class Moved:
    """One table: how many rows, and the SHA-256 over all of them, the same in both databases."""

    table: str
    rows: int
    digest: str


def move(path: Path, url: str) -> Sequence[Moved]:
    """Copy the state in ``path``, on which no engine may run, into an empty database.

    Repeated after a success, it finds the same and changes nothing. Raises FailedPrecondition for
    a target that holds anything else, DataLoss when the copy differs, Unavailable when the server
    goes away: then the source serves on, unless it had come to the commit.
    """
    PostgresDatabase(url).close()  # makes the tables
    shown = shown_url(url)
    try:
        with connect(url, _COPYING, name="clonepool database migrate") as target:
            target.execute(TAKE)
            with _reading(path) as source:
                held = _compared(source, target)
                moved = held or _copied(source, target, shown=shown)
            _note(path, shown)
            _commit(target, shown=shown)
    except psycopg.Error as error:
        text = f"the database {shown} took nothing: {said(error)}; the state is where it was"
        raise Unavailable(text, reason=DATABASE_AWAY) from None
    return moved


def _commit(target: psycopg.Connection[Any], *, shown: str) -> None:
    try:
        target.commit()
    except psycopg.Error as error:
        text = (
            f"whether {shown} took the state is not known ({said(error)}); run this again: no "
            "engine starts on the old one until then"
        )
        raise Unavailable(text, reason="MOVE_UNCERTAIN") from None


def _reading(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True)


def _note(path: Path, shown: str) -> None:
    with sqlite3.connect(path) as source:
        source.execute("PRAGMA synchronous = FULL")
        source.execute("INSERT OR REPLACE INTO meta(key, value) VALUES (?, ?)", (MOVED_TO, shown))
    source.close()


def _tables() -> Sequence[Table]:
    """Each after those that it refers to."""
    return SQLModel.metadata.sorted_tables


def _compared(
    source: sqlite3.Connection, target: psycopg.Connection[Any]
) -> Sequence[Moved] | None:
    """What both hold, where an earlier move came to its end; None where the target is empty."""
    there = [_measured(table, _rows_of_target(target, table)) for table in _tables()]
    if not any(each.rows for each in there):
        return None
    here = [_measured(table, _rows_of_source(source, table)) for table in _tables()]
    if here == there:
        return there
    most = max(there, key=lambda each: each.rows)
    text = (
        f"the database is not empty (such as {most.rows} rows in {most.table}); name one that is, "
        "or drop this one and make it again"
    )
    raise FailedPrecondition(text, reason="DATABASE_NOT_EMPTY")


def _copied(
    source: sqlite3.Connection, target: psycopg.Connection[Any], *, shown: str
) -> Sequence[Moved]:
    _set_guards(target, "DISABLE")
    for table in _tables():
        _copy(table, source, target)
    _set_guards(target, "ENABLE")
    moved = []
    for table in _tables():
        here = _measured(table, _rows_of_source(source, table))
        there = _measured(table, _rows_of_target(target, table))
        if here != there:
            text = (
                f"table {table.name} came to {shown} as {there.rows} rows with digest "
                f"{there.digest}, not {here.rows} with {here.digest}; nothing was moved"
            )
            raise DataLoss(text, reason="MOVE_DIFFERS")
        _continue_numbers(table, source, target)
        moved.append(there)
    return moved


def _set_guards(target: psycopg.Connection[Any], word: str) -> None:
    for table in _GUARDED:
        target.execute(f"ALTER TABLE {table} {word} TRIGGER USER".encode())


def _copy(table: Table, source: sqlite3.Connection, target: psycopg.Connection[Any]) -> None:
    columns = ", ".join(f'"{column.name}"' for column in table.columns)
    statement = f'COPY "{table.name}" ({columns}) FROM STDIN'.encode()
    with target.cursor() as cursor, cursor.copy(statement) as copy:
        for row in _rows_of_source(source, table):
            copy.write_row(row)


def _continue_numbers(
    table: Table, source: sqlite3.Connection, target: psycopg.Connection[Any]
) -> None:
    """Numbers go on behind the highest that was ever given, also where its row is gone."""
    known = "SELECT seq FROM sqlite_sequence WHERE name = ?"
    row = source.execute(known, (table.name,)).fetchone()
    if row is not None and row[0]:
        sequence = "SELECT setval(pg_get_serial_sequence(%s, 'n'), %s)"
        target.execute(sequence, (table.name, row[0]))


def _rows_of_source(source: sqlite3.Connection, table: Table) -> Iterator[Sequence[Any]]:
    as_types = _readers(table)
    # the note of an earlier try is no part of the state
    condition = f" WHERE key != '{MOVED_TO}'" if table.name == "meta" else ""
    for row in source.execute(f"{_select(table)}{condition} ORDER BY {_order(table)}"):
        yield [read(value) for read, value in zip(as_types, row, strict=True)]


def _rows_of_target(target: psycopg.Connection[Any], table: Table) -> Iterator[Sequence[Any]]:
    # fetched a part at a time: a chain of millions must not be in memory at once
    with target.cursor(name="compared") as cursor:
        cursor.itersize = _AT_A_TIME
        cursor.execute(f"{_select(table)} ORDER BY {_order(table)}".encode())
        yield from cursor


def _select(table: Table) -> str:
    columns = ", ".join(f'"{column.name}"' for column in table.columns)
    return f'SELECT {columns} FROM "{table.name}"'  # noqa: S608 - names of ours


def _order(table: Table) -> str:
    return ", ".join(f'"{column.name}"' for column in table.primary_key)


def _readers(table: Table) -> Sequence[Callable[[Any], Any]]:
    """How each column's value is read: SQLite keeps yes and no as numbers."""
    return [_flag if isinstance(column.type, Boolean) else _same for column in table.columns]


def _flag(value: Any) -> bool | None:
    return None if value is None else bool(value)


def _same(value: Any) -> Any:
    return value


def _measured(table: Table, rows: Iterable[Sequence[Any]]) -> Moved:
    digest = hashlib.sha256()
    count = 0
    for row in rows:
        digest.update(f"{[_spelled(value) for value in row]!r}\n".encode())
        count += 1
    return Moved(table=table.name, rows=count, digest=digest.hexdigest())


def _spelled(value: Any) -> Any:
    """A whole number in a column of fractions is the same number in both."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
