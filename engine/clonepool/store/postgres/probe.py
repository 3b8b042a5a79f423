"""What a PostgreSQL server is like, for who looks before an engine starts; changes nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final

import psycopg

from clonepool.database_url import shown_url
from clonepool.store.postgres.connect import READING, check_server, connect, not_opened, original_of

_SETTINGS: Final = ("server_version", "fsync", "full_page_writes", "max_connections")
_REVISION: Final = "SELECT version_num FROM alembic_version"


@dataclass(frozen=True, kw_only=True)
class ServerFacts:
    """``revision`` of the schema is "" before the first engine; ``round_trip_s`` of one query."""

    version: str
    revision: str
    is_durable: bool
    max_connections: int
    round_trip_s: float


def probe(url: str) -> ServerFacts:
    """Connect and look. Raises what opening the database would, but makes and migrates nothing."""
    try:
        with connect(url, READING, name="clonepool doctor") as connection:
            check_server(connection, shown=shown_url(url))
            found = [_setting(connection, name) for name in _SETTINGS]
            began_at = time.monotonic()
            connection.execute("SELECT 1")
            round_trip_s = time.monotonic() - began_at
            revision = _revision(connection)
    except psycopg.Error as error:
        raise not_opened(error, url=url) from None
    return ServerFacts(
        version=found[0].partition(" ")[0],
        revision=revision,
        is_durable=found[1:3] == ["on", "on"],
        max_connections=int(found[3]),
        round_trip_s=round_trip_s,
    )


def _setting(connection: psycopg.Connection[Any], name: str) -> str:
    row = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
    return str(row[0]) if row else ""


def _revision(connection: psycopg.Connection[Any]) -> str:
    try:
        row = connection.execute(_REVISION).fetchone()
    except psycopg.Error as error:
        if isinstance(original_of(error), psycopg.errors.UndefinedTable):
            return ""
        raise
    return str(row[0]) if row else ""
