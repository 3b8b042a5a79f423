"""Doctor's check of the database, where the state is in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from clonepool.cli.checks import Check, broken, good, lacking
from clonepool.config import Settings
from clonepool.database_url import shown_url
from clonepool.errors import ClonepoolError

if TYPE_CHECKING:
    from clonepool.store.postgres.probe import ServerFacts

_TITLE: Final = "database"
# of one engine: its readers, its writer, and one more while it starts or is looked at
_CONNECTIONS: Final = 18


def check_database(settings: Settings) -> Iterator[Check]:
    """Connect to it as an engine would; nothing where the state is in the state folder."""
    if not settings.database:
        return
    try:
        from clonepool.store.postgres.probe import probe  # noqa: PLC0415 - loads the driver
    except ImportError as missing:
        mend = "pip install 'clonepool[engine,postgres]'"
        yield broken(_TITLE, f"PostgreSQL's driver can't be loaded: {missing}", mend)
        return
    try:
        facts = probe(settings.database)
    except ClonepoolError as error:
        yield broken(_TITLE, str(error), "see docs/postgresql.md")
        return
    yield _described(settings, facts)
    if not facts.is_durable:
        detail = "fsync or full_page_writes is off: a power loss can forget what callers were told"
        yield lacking("database's disk", detail, "set both on in postgresql.conf")
    if facts.max_connections < _CONNECTIONS:
        detail = f"max_connections is {facts.max_connections}; an engine takes {_CONNECTIONS}"
        yield lacking("database's connections", detail, "raise it in postgresql.conf")


def _described(settings: Settings, facts: ServerFacts) -> Check:
    schema = f"schema {facts.revision}" if facts.revision else "no schema yet"
    took = f"{facts.round_trip_s * 1000:.1f} ms a round trip"
    where = shown_url(settings.database)
    return good(_TITLE, f"{where}: PostgreSQL {facts.version}, {schema}, {took}")
