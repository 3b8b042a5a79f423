"""A migrated database, its writer, and rows to begin with."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from clonepool.store.connections import StateDatabase
from clonepool.store.database import Database
from clonepool.store.writer import Writer

if TYPE_CHECKING:
    from clonepool.store.postgres.database import PostgresDatabase


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database, migrated once."""
    path = tmp_path_factory.mktemp("migrated") / "clonepool.db"
    Database(path).close()
    return path


@pytest.fixture
def sqlite(tmp_path: Path, migrated: Path) -> Iterator[Database]:
    """In a file; for what is SQLite's alone."""
    shutil.copy(migrated, tmp_path / "clonepool.db")
    opened = Database(tmp_path / "clonepool.db")
    yield opened
    opened.close()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest) -> Iterator[StateDatabase]:
    """Each test runs on both."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite")
        return
    yield request.getfixturevalue("shared")


@pytest.fixture
def sqlite_writer(sqlite: Database) -> Iterator[Writer]:
    """For what is SQLite's alone."""
    running = Writer(sqlite)
    yield running
    running.close()


@pytest.fixture
def writer(database: StateDatabase) -> Iterator[Writer]:
    running = Writer(database)
    yield running
    running.close()


@pytest.fixture
def postgres_name(postgres_url: str) -> str:
    """The name of the test's own database."""
    return postgres_url.split("/")[3].partition("?")[0]


@pytest.fixture
def shared(postgres_url: str) -> Iterator[PostgresDatabase]:
    """In PostgreSQL; for what is its alone."""
    from clonepool.store.postgres.database import (  # noqa: PLC0415 - only where the marker is
        PostgresDatabase,
    )

    opened = PostgresDatabase(postgres_url, node="n1")
    yield opened
    opened.close()
