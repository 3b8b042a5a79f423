"""The writer's connection to PostgreSQL: its turn among all nodes, savepoints, what errors mean."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

import psycopg
from psycopg import errors
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from clonepool.errors import Unavailable
from clonepool.store.connections import Cursor
from clonepool.store.postgres.clock import DatabaseClock
from clonepool.store.postgres.connect import original_of, read_clock, said
from clonepool.store.postgres.dialect import translated
from clonepool.store.postgres.locks import TAKE

log = logging.getLogger(__name__)
# PostgreSQL takes 65,535 values in a statement
_MAX_ROWS: Final = 1000
_OPEN: Final = (TransactionStatus.INTRANS, TransactionStatus.INERROR)
_DISTURBED: Final = (
    errors.SerializationFailure,
    errors.DeadlockDetected,
    errors.LockNotAvailable,
)


class PostgresConnection:
    """See WritingConnection. Connects again by itself, where nothing of a change has run yet."""

    def __init__(self, engine: Engine, *, clock: DatabaseClock) -> None:
        self._engine = engine
        self._clock = clock
        self._connection: Connection | None = None
        self._raw: psycopg.Connection[Any] | None = None

    @property
    def raw(self) -> psycopg.Connection[Any]:
        """The driver's connection that there is now."""
        if self._raw is None:
            raise Unavailable("the database is away; try again", retry_after_s=1)
        return self._raw

    @property
    def sqlalchemy(self) -> Connection:
        """The connection that there is now."""
        if self._connection is None:
            raise Unavailable("the database is away; try again", retry_after_s=1)
        return self._connection

    @property
    def in_transaction(self) -> bool:
        """False once the server ended it, and the connection."""
        return self._raw is not None and self._raw.info.transaction_status in _OPEN

    def execute(self, statement: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> Cursor:
        """Run one statement, written as for SQLite."""
        return self.raw.execute(translated(statement), parameters)

    def begin(self) -> None:
        """Wait for the turn among all nodes; what they committed is seen from now on."""
        try:
            self._begin()
        except (psycopg.OperationalError, DBAPIError) as error:
            if isinstance(original_of(error), _DISTURBED):
                raise
            # it was restarted since the last change: nothing of this one has run yet
            log.info("connecting to the database again: %s", said(error))
            self.end()
            self._drop()
            self._begin()

    def _begin(self) -> None:
        if self._connection is None:
            self._connection = self._engine.connect()
            raw = self._connection.connection.driver_connection
            assert isinstance(raw, psycopg.Connection)  # noqa: S101 - the pool's own driver
            self._raw = raw
        self._connection.begin()
        self._run(TAKE)
        if self._clock.is_stale:
            self._clock.ask(self._now)

    def _now(self) -> float:
        return read_clock(self.raw)

    def _run(self, statement: str) -> None:
        self.raw.execute(statement)

    def save(self) -> None:
        """Remember where one change begins."""
        self._run("SAVEPOINT change")

    def undo(self) -> None:
        """Undo the change."""
        self._run("ROLLBACK TO SAVEPOINT change")
        self._run("RELEASE SAVEPOINT change")

    def keep(self) -> None:
        """The change stands."""
        self._run("RELEASE SAVEPOINT change")

    def insert(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        """Insert rows, by as few statements as PostgreSQL takes."""
        for first in range(0, len(rows), _MAX_ROWS):
            part = rows[first : first + _MAX_ROWS]
            places = ",".join([f"({','.join('?' * len(part[0]))})"] * len(part))
            values = [each for row in part for each in row]
            # of many lengths: not worth to be kept
            self.raw.execute(translated.__wrapped__(f"{statement} VALUES {places}"), values)

    def commit(self) -> None:
        """Make it durable."""
        self.raw.commit()

    def end(self) -> None:
        """Undo what was not committed. A connection that is lost is given up."""
        if self._connection is None:
            return
        try:
            if self.in_transaction:
                self._run("ROLLBACK")
            self._connection.rollback()
        except (psycopg.Error, DBAPIError):
            self._drop()
            return
        if self._raw is not None and self._raw.closed:
            self._drop()

    def _drop(self) -> None:
        connection, self._connection, self._raw = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error, DBAPIError):
                connection.invalidate()
            with contextlib.suppress(psycopg.Error, DBAPIError):
                connection.close()

    def says(self, error: BaseException) -> str | None:
        """What PostgreSQL said, None for another error."""
        return said(error) if isinstance(error, (psycopg.Error, DBAPIError)) else None

    def is_guard(self, error: BaseException) -> bool:
        """Whether a guard of the schema refused a change."""
        return isinstance(original_of(error), psycopg.IntegrityError)

    def may_be_repeated(self, error: BaseException) -> bool:
        """Whether others, who change rows past the engines, were in the way."""
        return isinstance(original_of(error), _DISTURBED)

    def close(self) -> None:
        """Give it back."""
        connection, self._connection, self._raw = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error, DBAPIError):
                connection.close()
