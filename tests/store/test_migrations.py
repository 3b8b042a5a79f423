"""The migrations make exactly the tables that the rows' classes declare, whole or not at all."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, inspect, text
from sqlmodel import SQLModel

from clonepool.domain.states import VOLUME_MOVES, VolumeState
from clonepool.errors import FailedPrecondition, Unavailable
from clonepool.store import tables  # noqa: F401 - registers the tables
from clonepool.store.database import Database
from clonepool.store.migrate import MIGRATIONS, configuration
from clonepool.store.migrations import HEAD
from clonepool.store.writer import Writer
from tests.store import seed


def described(engine: Engine) -> dict[str, Any]:
    """Every table with its columns, keys, checks and indexes, partial ones with their condition."""
    inspector = inspect(engine)
    found = {}
    for table in sorted(set(inspector.get_table_names()) - {"alembic_version"}):
        found[table] = {
            "columns": [
                (column["name"], str(column["type"]), column["nullable"])
                for column in inspector.get_columns(table)
            ],
            "key": inspector.get_pk_constraint(table)["constrained_columns"],
            "foreign": sorted(
                (key["constrained_columns"], key["referred_table"])
                for key in inspector.get_foreign_keys(table)
            ),
            "checks": sorted(
                (check["name"], check["sqltext"])
                for check in inspector.get_check_constraints(table)
            ),
            "indexes": sorted(
                (
                    index["name"],
                    index["column_names"],
                    bool(index["unique"]),
                    str(index.get("dialect_options", {}).get("sqlite_where")),
                )
                for index in inspector.get_indexes(table)
            ),
        }
    return found


def schema(path: Path) -> list[tuple[str, ...]]:
    with sqlite3.connect(path) as connection:
        return connection.execute(
            "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' "
            "AND name != 'alembic_version' ORDER BY type, name"
        ).fetchall()


def test_the_migrations_make_what_the_tables_declare(sqlite: Database) -> None:
    declared = create_engine("sqlite://")
    SQLModel.metadata.create_all(declared)
    assert described(declared) == described(sqlite.engine)
    assert "volume" in described(declared)


def test_alembic_finds_nothing_to_migrate(sqlite: Database) -> None:
    with sqlite.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert [] == compare_metadata(context, SQLModel.metadata)


def test_down_and_up_again_comes_to_the_same_schema(sqlite: Database) -> None:
    before = schema(sqlite.path)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with sqlite.engine.connect() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        connection.commit()
        assert [] == schema(sqlite.path)
        command.upgrade(config, "head")
        connection.commit()
    assert before == schema(sqlite.path)
    assert any(kind == "trigger" for kind, *_rest in before)


def test_what_an_earlier_revision_wrote_is_kept(sqlite: Database) -> None:
    writer = Writer(sqlite)
    seed.write_basics(writer)
    writer.close()
    config = configuration()
    with sqlite.engine.connect() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
        connection.commit()
        assert "hold" not in inspect(connection).get_table_names()
    sqlite.close()
    opened = Database(sqlite.path)
    with opened.engine.connect() as connection:
        assert "web" == connection.execute(text("SELECT name FROM pool")).scalar_one()
        assert 0 == connection.execute(text("SELECT count(*) FROM hold")).scalar_one()
    opened.close()


def test_the_triggers_moves_are_the_domains(sqlite: Database) -> None:
    sql = {name: sql for _kind, name, sql in schema(sqlite.path)}["volume_moves"]
    pairs = {
        (old, new) for old in VolumeState for new in VolumeState if f"('{old}', '{new}')" in sql
    }
    assert {(old, new) for old, news in VOLUME_MOVES.items() for new in news} == pairs


def test_a_migration_that_is_cut_off_leaves_nothing_behind(tmp_path: Path) -> None:
    """The second start must not find half of the tables."""
    path = tmp_path / "clonepool.db"
    with sqlite3.connect(path) as connection:
        # the last table that the migration makes
        connection.execute("CREATE TABLE volume (id)")
    with pytest.raises(Unavailable):
        Database(path)
    assert ["volume"] == [name for _kind, name, _sql in schema(path)]
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE volume")
    Database(path).close()


def test_a_database_of_a_newer_version_is_refused_with_the_way_out(sqlite: Database) -> None:
    with sqlite3.connect(sqlite.path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(FailedPrecondition, match="run the version that wrote it"):
        Database(sqlite.path)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "clonepool.db"
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(Unavailable, match=r"clonepool\.db can't be opened"):
        Database(path)


def test_the_database_is_durable_guarded_and_private(sqlite: Database) -> None:
    with sqlite.engine.connect() as connection:
        seen = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1} == seen


def test_nobody_else_reads_a_new_database(tmp_path: Path) -> None:
    path = tmp_path / "state" / "clonepool.db"
    Database(path).close()
    assert 0o600 == path.stat().st_mode & 0o777
    assert 0o700 == path.parent.stat().st_mode & 0o777


def test_the_named_head_is_the_newest_revision() -> None:
    """Opening compares with a constant, so that alembic loads only when there is work."""
    script = ScriptDirectory.from_config(configuration())
    assert script.get_current_head() == HEAD
