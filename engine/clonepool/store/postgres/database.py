"""The state in PostgreSQL: connections, migrations, readers."""

from __future__ import annotations

import logging
import select
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg.adapt import Loader
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, InvalidatePoolError
from sqlalchemy.exc import TimeoutError as NoConnection
from sqlmodel import Session

from clonepool.database_url import check_url, shown_url
from clonepool.errors import ClonepoolError, FailedPrecondition, InvalidArgument, Unavailable
from clonepool.store.connections import Clock
from clonepool.store.migrations import HEAD
from clonepool.store.postgres.clock import DatabaseClock
from clonepool.store.postgres.connection import PostgresConnection, read_clock, said
from clonepool.store.postgres.dialect import translated
from clonepool.store.postgres.locks import MIGRATION, take_in_transaction

log = logging.getLogger(__name__)
# as many readers at once as the server has threads for short reads
_READERS: Final = 16
_WAIT_FOR_READER_S: Final = 10.0
_CONNECT_S: Final = 5
_OLDEST: Final = 14
# an engine that stopped in the middle of a change must not stop the others for longer
_IDLE_IN_CHANGE_S: Final = 10
# longer than that, and than the changes of several engines take
_LOCK_S: Final = 30
# a network that is gone is noticed in about 20 s
_NETWORK: Final = {
    "connect_timeout": _CONNECT_S,
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
_BOTH: Final = {
    "idle_in_transaction_session_timeout": f"{_IDLE_IN_CHANGE_S}s",
    "lock_timeout": f"{_LOCK_S}s",
    "timezone": "UTC",
}
_READING: Final = _BOTH | {
    r"default_transaction_isolation": r"repeatable\ read",
    "default_transaction_read_only": "on",
}
# read committed: what others committed while this engine waited for its turn must be seen
_WRITING: Final = _BOTH | {
    "default_transaction_isolation": r"read\ committed",
    "default_transaction_read_only": "off",
}


class _WholeNumber(Loader):
    """Sums of whole numbers are whole: nothing here is a fraction."""

    def load(self, data: Any) -> int | float:
        text = bytes(data).decode()
        return float(text) if "." in text else int(text)


class PostgresDatabase:
    """A migrated PostgreSQL database. Raises what ``_explained`` says when it can't be opened."""

    def __init__(self, url: str, *, node: str = "") -> None:
        check_url(url, field="database")
        self._url = url
        self._given = _parsed(url)
        self.shown = shown_url(url)
        self._name = f"clonepool {node}".strip()
        self._clock = DatabaseClock()
        self.clock: Clock | None = self._clock
        self.engine = self._make_engine(_READING, size=_READERS)
        self._writing_engine = self._make_engine(_WRITING, size=1)
        event.listen(self.engine, "checkout", _refuse_dead)
        try:
            with self._writing_engine.connect() as connection:
                self._check_server(connection)
                self._migrate(connection)
                self._ask_clock(connection)
        except (DBAPIError, psycopg.Error) as error:
            self.close()
            raise self._explained(error) from None
        except BaseException:
            self.close()
            raise

    def _make_engine(self, settings: dict[str, str], *, size: int) -> Engine:
        engine = create_engine(
            "postgresql+psycopg://",
            creator=lambda: self._connect(settings),
            pool_size=size,
            max_overflow=0,
            pool_timeout=_WAIT_FOR_READER_S,
        )
        event.listen(engine, "before_cursor_execute", _translate, retval=True)
        return engine

    def _connect(self, settings: dict[str, str]) -> psycopg.Connection[Any]:
        given = self._given
        ours = " ".join(f"-c {name}={value}" for name, value in settings.items())
        options = f"{given.get('options') or ''} {ours}".strip()
        defaults = {**_NETWORK, "application_name": self._name}
        more = {name: value for name, value in defaults.items() if name not in given}
        connection = psycopg.connect(make_conninfo(self._url, **more, options=options))
        connection.adapters.register_loader("numeric", _WholeNumber)
        if settings is _WRITING:
            _commit_durably(connection)
        return connection

    def _check_server(self, connection: Connection) -> None:
        raw: Any = connection.connection.driver_connection
        version = raw.info.server_version // 10_000
        if version < _OLDEST:
            text = (
                f"the database {self.shown} is on PostgreSQL {version}; Clonepool needs "
                f"{_OLDEST} or newer"
            )
            raise FailedPrecondition(text, reason="DATABASE_VERSION")
        encoding = raw.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            text = (
                f"the database {self.shown} is encoded in {encoding}; make one with "
                "`createdb --template template0 --encoding UTF8`"
            )
            raise FailedPrecondition(text, reason="DATABASE")

    def _migrate(self, connection: Connection) -> None:
        if self._revision(connection) == HEAD:
            connection.rollback()
            return
        from clonepool.store.migrate import upgrade  # noqa: PLC0415 - half a second of imports
        from clonepool.store.postgres.ddl import tend_hot_tables  # noqa: PLC0415 - the same

        connection.rollback()
        with connection.begin():
            # another node may be at it: when it is done there is nothing left to do
            take_in_transaction(connection, MIGRATION)
            upgrade(connection, name=self.shown)
            tend_hot_tables(connection)

    @staticmethod
    def _revision(connection: Connection) -> str | None:
        if connection.exec_driver_sql("SELECT to_regclass('alembic_version')").scalar() is None:
            return None
        row = connection.exec_driver_sql("SELECT version_num FROM alembic_version").first()
        return row[0] if row else None

    def _ask_clock(self, connection: Connection) -> None:
        raw: Any = connection.connection.driver_connection
        self._clock.ask(lambda: read_clock(raw))
        connection.rollback()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session on one consistent snapshot. Raises Unavailable while the server is away."""
        try:
            with Session(self.engine, expire_on_commit=False) as session:
                yield session
        except (DBAPIError, psycopg.Error) as error:
            if not _is_away(error):
                raise
            text = f"the database {self.shown} does not answer: {said(error)}; try again"
            raise Unavailable(text, reason="DATABASE", retry_after_s=1) from None
        except NoConnection:
            text = f"all {_READERS} connections to the database {self.shown} are busy; try again"
            raise Unavailable(text, reason="DATABASE", retry_after_s=1) from None

    def writing(self) -> PostgresConnection:
        """A connection for the writer."""
        return PostgresConnection(self._writing_engine, clock=self._clock)

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()
        self._writing_engine.dispose()

    def _explained(self, error: DBAPIError | psycopg.Error) -> ClonepoolError:
        text = f"the database {self.shown} can't be opened: {said(error)}{_way_out(str(error))}"
        return Unavailable(text, reason="DATABASE")


def _parsed(url: str) -> dict[str, Any]:
    try:
        return dict(conninfo_to_dict(url))
    except psycopg.ProgrammingError:
        # what libpq says may quote a part of a password
        text = "is no URL that PostgreSQL's library can read; write special characters as %XX"
        raise InvalidArgument.field("database", text) from None


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


def _commit_durably(raw: psycopg.Connection[Any]) -> None:
    """A stricter setting than "on" stands; "off" could forget what a caller was told of."""
    row = raw.execute("SHOW synchronous_commit").fetchone()
    if row == ("off",):
        raw.execute("SET synchronous_commit = on")
        raw.commit()


def _is_away(error: BaseException) -> bool:
    original = getattr(error, "orig", None) or error
    return isinstance(original, (psycopg.OperationalError, psycopg.InterfaceError))


def _way_out(said_all: str) -> str:
    for sign, way_out in _WAYS_OUT.items():
        if sign in said_all:
            return f"; {way_out}"
    return ""


_WAYS_OUT: Final = {
    "password": "give the password by PGPASSWORD, ~/.pgpass or a service file",
    "does not exist": "make it first, see docs/postgresql.md",
    "permission denied": "the database's user must own it, see docs/postgresql.md",
    "connection": "is the server up, and does the URL say where?",
}
