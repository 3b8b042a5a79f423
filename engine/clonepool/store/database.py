"""Opening the database: pragmas, migrations, readers."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import DatabaseError
from sqlmodel import Session

from clonepool.errors import Unavailable
from clonepool.store.migrations import HEAD

# as many readers at once as the server has threads for short reads
_READERS = 16


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

    def __init__(self, path: Path) -> None:
        self.path = path
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

                upgrade(connection, path=self.path)
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

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()
