"""The state in a file, by SQLite: pragmas, migrations, readers, and the writer's connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError, DBAPIError
from sqlmodel import Session

from clonepool.errors import Unavailable
from clonepool.store.connections import Clock
from clonepool.store.migrations import HEAD

# as many readers at once as the server has threads for short reads
_READERS = 16
# SQLite takes 32,766 values in a statement
_MAX_ROWS = 1000


def _set_pragmas(connection: sqlite3.Connection, _record: object) -> None:
    # the driver must not open transactions by itself: the writer says BEGIN IMMEDIATE
    connection.isolation_level = None
    for pragma in (
        "journal_mode = WAL",
        # FULL, not NORMAL: NORMAL can forget an allocation that the caller was told of
        "synchronous = FULL",
        "foreign_keys = ON",
        "busy_timeout = 10000",
    ):
        connection.execute(f"PRAGMA {pragma}")


class Database:
    """A migrated SQLite database in WAL mode."""

    clock: Clock | None = None

    def __init__(self, path: Path) -> None:
        self.path = path
        self.shown = str(path)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # secrets rest encrypted, but names of customers do not: nobody else reads this file
        path.touch(mode=0o600, exist_ok=True)
        self.engine: Engine = create_engine(
            f"sqlite:///{path}",
            pool_size=_READERS,
            max_overflow=0,
            connect_args={"check_same_thread": False},
        )
        event.listen(self.engine, "connect", _set_pragmas)
        self._migrate()

    def _migrate(self) -> None:
        try:
            with self.engine.connect() as connection:
                if self._revision(connection) == HEAD:
                    return
                from clonepool.store.migrate import (  # noqa: PLC0415 - half a second of imports
                    upgrade,
                )

                # the driver begins nothing by itself: cut off, a migration must leave nothing
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                upgrade(connection, name=str(self.path))
                connection.commit()
        except DatabaseError as error:
            text = f"the database {self.path} can't be opened: {error.orig}"
            raise Unavailable(text, reason="DATABASE") from None

    @staticmethod
    def _revision(connection: Any) -> str | None:
        tables = "SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'"
        if connection.exec_driver_sql(tables).first() is None:
            return None
        row = connection.exec_driver_sql("SELECT version_num FROM alembic_version").first()
        return row[0] if row else None

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session on one consistent snapshot; for reading only."""
        with Session(self.engine, expire_on_commit=False) as session:
            session.connection().exec_driver_sql("BEGIN")
            try:
                yield session
            finally:
                session.connection().exec_driver_sql("ROLLBACK")

    def writing(self) -> SqliteConnection:
        """A connection for the writer."""
        return SqliteConnection(self.engine.connect())

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


class SqliteConnection:
    """The writer's connection; see WritingConnection."""

    def __init__(self, connection: Connection) -> None:
        self.sqlalchemy = connection
        raw = connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)  # noqa: S101 - the pool's own driver
        self.raw = raw
        # the driver's own method: nothing stands between the hot path and SQLite
        self.execute = raw.execute

    @property
    def in_transaction(self) -> bool:
        """A full disk has SQLite roll back by itself."""
        return self.raw.in_transaction

    def begin(self) -> None:
        """Begin, once no other process writes."""
        self.sqlalchemy.begin()
        self.raw.execute("BEGIN IMMEDIATE")

    def save(self) -> None:
        """Remember where one change begins."""
        self.raw.execute("SAVEPOINT change")

    def undo(self) -> None:
        """Undo the change."""
        self.raw.execute("ROLLBACK TO change")
        self.raw.execute("RELEASE change")

    def keep(self) -> None:
        """The change stands."""
        self.raw.execute("RELEASE change")

    def insert(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        """Insert rows, by as few statements as SQLite takes."""
        for first in range(0, len(rows), _MAX_ROWS):
            part = rows[first : first + _MAX_ROWS]
            places = ",".join([f"({','.join('?' * len(part[0]))})"] * len(part))
            self.raw.execute(f"{statement} VALUES {places}", [each for row in part for each in row])

    def commit(self) -> None:
        """Make it durable."""
        self.raw.execute("COMMIT")

    def end(self) -> None:
        """Undo what was not committed."""
        if self.raw.in_transaction:
            self.raw.execute("ROLLBACK")
        # SQLAlchemy thinks that a transaction is open; the raw one is over
        self.sqlalchemy.rollback()

    def says(self, error: BaseException) -> str | None:
        """What SQLite said, None for another error."""
        if not isinstance(error, (sqlite3.Error, DBAPIError)):
            return None
        return str(getattr(error, "orig", None) or error)

    def is_guard(self, error: BaseException) -> bool:
        """Whether a guard of the schema refused a change."""
        return isinstance(getattr(error, "orig", None) or error, sqlite3.IntegrityError)

    def may_be_repeated(self, _error: BaseException) -> bool:
        """Never: nobody else writes meanwhile."""
        return False

    def close(self) -> None:
        """Give it back."""
        self.sqlalchemy.close()
