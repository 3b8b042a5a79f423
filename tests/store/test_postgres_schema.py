"""The schema in PostgreSQL: the same history and guards as in SQLite, in PostgreSQL's own words."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlmodel import SQLModel, select

from clonepool.errors import FailedPrecondition
from clonepool.store import tables
from clonepool.store.migrate import configuration
from clonepool.store.postgres import connect, ddl
from clonepool.store.postgres.database import PostgresDatabase
from clonepool.store.writer import Transaction, Writer
from tests.store import seed
from tests.support.postgres import PostgresServer

pytestmark = pytest.mark.postgres


def test_the_migrations_make_what_the_tables_declare(shared: PostgresDatabase) -> None:
    with shared._writing_engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert [] == compare_metadata(context, SQLModel.metadata)


_SCHEMA = """
    SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL SELECT 'check', conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT 'guard', proname, prosrc FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace
    UNION ALL SELECT 'trigger', tgname, pg_get_triggerdef(oid) FROM pg_trigger
        WHERE NOT tgisinternal
    UNION ALL SELECT 'column', table_name || '.' || column_name,
        data_type || ' ' || is_nullable || ' ' || coalesce(collation_name, '')
        FROM information_schema.columns WHERE table_schema = 'public'
    ORDER BY 1, 2, 3
"""


def test_down_and_up_again_comes_to_the_same_schema(shared: PostgresDatabase) -> None:
    before = seed.rows_of(shared, _SCHEMA)
    config = configuration()
    with shared._writing_engine.connect() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        left = [row[:2] for row in connection.exec_driver_sql(_SCHEMA) if row[0] != "column"]
        assert [("check", "alembic_version_pkc"), ("index", "alembic_version_pkc")] == left
        command.upgrade(config, "head")
        connection.commit()
    assert before == seed.rows_of(shared, _SCHEMA)
    assert {"index", "check", "guard", "trigger", "column"} == {row[0] for row in before}


def test_every_partial_index_is_partial_here_too(shared: PostgresDatabase) -> None:
    declared = {
        index.name
        for table in SQLModel.metadata.tables.values()
        for index in table.indexes
        if index.dialect_options["sqlite"]["where"] is not None
    }
    found = {
        row[1] for row in seed.rows_of(shared, _SCHEMA) if row[0] == "index" and "WHERE" in row[2]
    }
    assert declared == found


def test_texts_are_in_the_order_of_their_bytes_and_numbers_have_64_bits(
    shared: PostgresDatabase,
) -> None:
    """Whatever the database's own language is; a C library that changes it breaks no index."""
    columns = {
        row[2] for row in seed.rows_of(shared, _SCHEMA)
        if row[0] == "column" and not row[1].startswith("alembic_version.")
    }  # fmt: skip
    kinds = {kind.replace(" NO ", " ").replace(" YES ", " ").strip() for kind in columns}
    assert {"text C", "bigint", "boolean", "double precision"} == kinds


def test_hot_tables_are_vacuumed_early(shared: PostgresDatabase) -> None:
    found = dict(seed.rows_of(shared, "SELECT relname, reloptions FROM pg_class"))
    for table in ddl._HOT_TABLES:
        assert "autovacuum_vacuum_scale_factor=0.01" in found[table]


def test_two_engines_that_start_on_an_empty_database_make_it_once(postgres: PostgresServer) -> None:
    with postgres.database() as empty, ThreadPoolExecutor(4) as threads:
        opened = list(threads.map(lambda _: PostgresDatabase(postgres.url(empty)), range(4)))
        for each in opened:
            each.close()
        assert [(1,)] == postgres.run_sql("SELECT count(*) FROM alembic_version", database=empty)


def test_a_server_that_is_too_old_is_refused(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "OLDEST", 99)
    with pytest.raises(FailedPrecondition, match="needs 99 or newer"):
        PostgresDatabase(postgres_url)


def test_a_database_that_can_t_hold_every_name_is_refused(postgres: PostgresServer) -> None:
    postgres.run_sql(
        "CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'"
    )
    with pytest.raises(FailedPrecondition, match="encoded in LATIN1"):
        PostgresDatabase(postgres.url("latin"))
    postgres.run_sql("DROP DATABASE latin")


def test_numbers_beyond_32_bits_are_kept(shared: PostgresDatabase) -> None:
    writer = Writer(shared)
    seed.write_basics(writer)
    writer.write(lambda transaction: seed.pool(transaction, "big", id="big", image_id="image-web"))

    def change(transaction: Transaction) -> int:
        row = transaction.session.get_one(tables.Pool, "big")
        row.max_replicas = 2**40
        transaction.session.add(row)
        found = transaction.session.exec(
            select(tables.Pool.name).where(tables.Pool.max_replicas > 2**39)
        )
        return len(found.all())

    assert 1 == writer.write(change)
    writer.close()
