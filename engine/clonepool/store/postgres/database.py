"""The state in PostgreSQL: connections, migrations, readers."""

from __future__ import annotations

import select
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, InvalidatePoolError
from sqlalchemy.exc import TimeoutError as NoConnection
from sqlmodel import Session

from clonepool.database_url import shown_url
from clonepool.errors import DATABASE_AWAY, Unavailable
from clonepool.store.connections import Clock
from clonepool.store.migrations import HEAD
from clonepool.store.postgres import ddl
from clonepool.store.postgres.clock import DatabaseClock
from clonepool.store.postgres.connect import (
    READING,
    WRITING,
    check_server,
    connect,
    is_away,
    not_opened,
    read_clock,
    said,
)
from clonepool.store.postgres.connection import PostgresConnection
from clonepool.store.postgres.dialect import translated
from clonepool.store.postgres.locks import MIGRATION, take_in_transaction

# as many readers at once as the server has threads for short reads
_READERS: Final = 16
_WAIT_FOR_READER_S: Final = 10.0


class PostgresDatabase:
    """A migrated PostgreSQL database, which several engines may share.

    Raises Unavailable where it can't be opened, FailedPrecondition where it is not one for us.
    """

    def __init__(self, url: str, *, node: str = "") -> None:
        self._url = url
        self.shown = shown_url(url)
        self._name = f"clonepool {node}".strip()
        self._clock = DatabaseClock()
        self.clock: Clock | None = self._clock
        self.engine = self._make_engine(READING, size=_READERS)
        self._writing_engine = self._make_engine(WRITING, size=1)
        event.listen(self.engine, "checkout", _refuse_dead)
        try:
            with self._writing_engine.connect() as connection:
                raw: Any = connection.connection.driver_connection
                check_server(raw, shown=self.shown)
                self._migrate(connection)
                self._clock.ask(lambda: read_clock(raw))
        except (DBAPIError, psycopg.Error) as error:
            self.close()
            raise not_opened(error, url=url) from None
        except BaseException:
            self.close()
            raise

    def _make_engine(self, settings: Mapping[str, str], *, size: int) -> Engine:
        engine = create_engine(
            "postgresql+psycopg://",
            creator=lambda: connect(self._url, settings, name=self._name),
            pool_size=size,
            max_overflow=0,
            pool_timeout=_WAIT_FOR_READER_S,
        )
        event.listen(engine, "before_cursor_execute", _translate, retval=True)
        return engine

    def _migrate(self, connection: Connection) -> None:
        found = self._revision(connection)
        connection.rollback()
        if found == HEAD:
            return
        from clonepool.store.migrate import upgrade  # noqa: PLC0415 - half a second of imports

        with connection.begin():
            # another node may be at it: when it is done there is nothing left to do
            take_in_transaction(connection, MIGRATION)
            upgrade(connection, name=self.shown)
            ddl.tend_hot_tables(connection)

    @staticmethod
    def _revision(connection: Connection) -> str | None:
        if connection.exec_driver_sql("SELECT to_regclass('alembic_version')").scalar() is None:
            return None
        row = connection.exec_driver_sql("SELECT version_num FROM alembic_version").first()
        return row[0] if row else None

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session on one consistent snapshot. Raises Unavailable while the server is away."""
        try:
            with Session(self.engine, expire_on_commit=False) as session:
                yield session
        except (DBAPIError, psycopg.Error) as error:
            if not is_away(error):
                raise
            text = f"the database {self.shown} does not answer: {said(error)}; try again"
            raise Unavailable(text, reason=DATABASE_AWAY, retry_after_s=1) from None
        except NoConnection:
            text = f"all {_READERS} connections to the database {self.shown} are busy; try again"
            raise Unavailable(text, reason=DATABASE_AWAY, retry_after_s=1) from None

    def writing(self) -> PostgresConnection:
        """A connection for the writer."""
        return PostgresConnection(self._writing_engine, clock=self._clock)

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()
        self._writing_engine.dispose()


def _translate(
    _connection: Any, _cursor: Any, statement: str, parameters: Any, context: Any, _many: bool
) -> tuple[str, Any]:
    """What the store wrote by hand is written as for SQLite; what SQLAlchemy made is not."""
    by_hand = context is not None and context.compiled is None
    return (translated(statement) if by_hand else statement), parameters


def _refuse_dead(raw: Any, _record: Any, _proxy: Any) -> None:
    """A connection on which the server said something unasked is over: it said goodbye.

    Costs no round trip. All of the pool are as old, so all are made anew.
    """
    if raw.closed or _has_unread(raw.fileno()):
        raise InvalidatePoolError


def _has_unread(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN | select.POLLHUP | select.POLLERR)
    return bool(poll.poll(0))
