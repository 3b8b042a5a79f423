"""Markers that need something of the machine: skipped by name where it lacks it, and listed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.features import (
    PROBES,
    find_lack,
    find_random_plugin,
    must_have,
    pulumi_folder,
)
from tests.support.postgres import PostgresServer

SKIPPED = pytest.StashKey[Counter[str]]()
NOTES = pytest.StashKey[set[str]]()
DOUBLE = Path(__file__).parent / "support/random_provider"


def pytest_configure(config: pytest.Config) -> None:
    config.stash[SKIPPED] = Counter()
    config.stash[NOTES] = set()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose marker names what is not here; in CI fail where it could be installed."""
    for marker in PROBES:
        lack = find_lack(marker) if item.get_closest_marker(marker) else None
        if lack is None:
            continue
        if must_have(lack):
            pytest.fail(f"CI must have what marker {marker} needs: {lack.reason}", pytrace=False)
        item.config.stash[SKIPPED][f"{marker}: {lack.reason}"] += 1
        pytest.skip(f"{marker}: {lack.reason}")


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say what this run left out, and why, before the closing line."""
    skipped, notes = config.stash[SKIPPED], config.stash[NOTES]
    if not (skipped or notes):
        return
    terminalreporter.section("left out on this machine")
    for what, count in sorted(skipped.items()):
        marker, _, reason = what.partition(": ")
        tests = "test" if count == 1 else "tests"
        terminalreporter.line(f"skipped by marker {marker}: {count} {tests}: {reason}")
    for note in sorted(notes):
        terminalreporter.line(note)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server of this run's own; for tests marked ``postgres``."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def migrated_database(postgres: PostgresServer) -> Iterator[str]:
    """The name of an empty database with the newest schema; to be copied, never to be used."""
    from clonepool.store.postgres.database import (  # noqa: PLC0415 - only where the marker is
        PostgresDatabase,
    )

    with postgres.database() as name:
        PostgresDatabase(postgres.url(name)).close()
        yield name


@pytest.fixture
def postgres_url(postgres: PostgresServer, migrated_database: str) -> Iterator[str]:
    """The URL of a migrated database of a test's own."""
    with postgres.database(template=migrated_database) as name:
        yield postgres.url(name)


@pytest.fixture(scope="session")
def pulumi_bin() -> Path:
    """The folder of the Pulumi command line; for tests marked ``pulumi``."""
    folder = pulumi_folder()
    if folder is None:
        pytest.fail("this test uses pulumi_bin, so it needs the marker pulumi", pytrace=False)
    return folder


@pytest.fixture(scope="session")
def random_plugin(pytestconfig: pytest.Config) -> Path:
    """The folder of the random provider's plugin: the installed one, else our double."""
    installed = find_random_plugin()
    if installed is not None:
        return installed
    pytestconfig.stash[NOTES].add(
        "the random provider's plugin is not installed: its double in tests/support was used"
    )
    return DOUBLE
