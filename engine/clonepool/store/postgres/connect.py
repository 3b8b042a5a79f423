"""Connecting to PostgreSQL: what a session is told, which servers will do, what errors mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import psycopg
from psycopg.adapt import Loader
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy.exc import DBAPIError

from clonepool.database_url import check_url, shown_url
from clonepool.errors import (
    DATABASE_AWAY,
    ClonepoolError,
    FailedPrecondition,
    InvalidArgument,
    Unavailable,
)

_CONNECT_S: Final = 5
OLDEST: Final = 14
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
READING: Final[Mapping[str, str]] = _BOTH | {
    "default_transaction_isolation": r"repeatable\ read",
    "default_transaction_read_only": "on",
}
"""One snapshot for each transaction, and no change."""
WRITING: Final[Mapping[str, str]] = _BOTH | {
    # what others committed while this engine waited for its turn must be seen
    "default_transaction_isolation": r"read\ committed",
    "default_transaction_read_only": "off",
}
"""For who holds the turn to write."""
_WAYS_OUT: Final = {
    "password": "give the password by PGPASSWORD, ~/.pgpass or a service file",
    "does not exist": "make it first, see docs/postgresql.md",
    "permission denied": "its user must own the database, see docs/postgresql.md",
    "connection": "is the server up, and does the URL say where it is?",
}


class _WholeNumber(Loader):
    """Sums of whole numbers are whole: nothing here is a fraction."""

    def load(self, data: Any) -> int | float:
        text = bytes(data).decode()
        return float(text) if "." in text else int(text)


def connect(
    url: str, settings: Mapping[str, str], *, name: str = "clonepool"
) -> psycopg.Connection[Any]:
    """A session with these settings; what the URL says of the network stands.

    Raises InvalidArgument for a URL that can't be read, psycopg's errors where nothing answers.
    """
    given = _parsed(url)
    ours = " ".join(f"-c {key}={value}" for key, value in settings.items())
    defaults = {**_NETWORK, "application_name": name}
    more: dict[str, Any] = {key: value for key, value in defaults.items() if key not in given}
    options = f"{given.get('options') or ''} {ours}".strip()
    connection = psycopg.connect(make_conninfo(url, **more, options=options))
    connection.adapters.register_loader("numeric", _WholeNumber)
    if settings["default_transaction_read_only"] == "off":
        _commit_durably(connection)
    return connection


def _parsed(url: str) -> dict[str, Any]:
    check_url(url, field="database")
    try:
        return dict(conninfo_to_dict(url))
    except psycopg.ProgrammingError:
        # what libpq says may quote a part of a password
        text = "is no URL that PostgreSQL's library can read; write special characters as %XX"
        raise InvalidArgument.field("database", text) from None


def _commit_durably(connection: psycopg.Connection[Any]) -> None:
    """A stricter setting than "on" stands; "off" could forget what a caller was told of."""
    row = connection.execute("SHOW synchronous_commit").fetchone()
    if row == ("off",):
        connection.execute("SET synchronous_commit = on")
    connection.commit()


def check_server(connection: psycopg.Connection[Any], *, shown: str) -> None:
    """Refuse a server that is too old, and a database that can't hold every name."""
    version = connection.info.server_version // 10_000
    if version < OLDEST:
        text = f"the database {shown} is on PostgreSQL {version}; Clonepool needs {OLDEST} or newer"
        raise FailedPrecondition(text, reason="DATABASE_VERSION")
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        text = (
            f"the database {shown} is encoded in {encoding}; make one with "
            "`createdb --template template0 --encoding UTF8`"
        )
        raise FailedPrecondition(text, reason="DATABASE_ENCODING")


def read_clock(connection: psycopg.Connection[Any]) -> float:
    """The server's clock now, in POSIX seconds."""
    row = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
    assert row is not None  # noqa: S101 - a SELECT without FROM has one row
    return float(row[0])


def original_of(error: BaseException) -> BaseException:
    """The driver's error, where SQLAlchemy wrapped it."""
    return getattr(error, "orig", None) or error


def said(error: BaseException) -> str:
    """What the server, or the driver, says of an error, in one line."""
    original = original_of(error)
    text = original.diag.message_primary if isinstance(original, psycopg.Error) else None
    return text or " ".join(str(original).split())


def is_away(error: BaseException) -> bool:
    """Whether the server, or the way to it, failed: later the same may succeed."""
    return isinstance(original_of(error), (psycopg.OperationalError, psycopg.InterfaceError))


def not_opened(error: DBAPIError | psycopg.Error, *, url: str) -> ClonepoolError:
    """Why a database can't be opened, and the way out."""
    text = said(error)
    way_out = next((f"; {way}" for sign, way in _WAYS_OUT.items() if sign in text), "")
    text = f"the database {shown_url(url)} can't be opened: {text}{way_out}"
    return Unavailable(text, reason=DATABASE_AWAY)
