"""How the tables' definitions, written for SQLite, read in PostgreSQL. Imported for its effect.

One history of migrations serves both; whatever differs is decided here and nowhere in it.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Connection, Integer, String, text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateColumn, CreateIndex
from sqlmodel import SQLModel

from clonepool.store import tables  # noqa: F401 - registers the tables

# rows that change often: dead ones must go before they are as many as the table has rows
_HOT_TABLES = ("volume", "attachment", "operation", "server", "hold", "released_attachment")
_HOT = (
    "autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 200, "
    "autovacuum_analyze_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 1"
)


def _is_of_column(options: dict[str, Any]) -> bool:
    return isinstance(options.get("type_expression"), Column)


@compiles(Integer, "postgresql")
def _integer(_type: Integer, _compiler: Any, **options: Any) -> str:
    """SQLite's integers have 64 bits: a count or a number must not end at 2**31."""
    return "BIGINT" if _is_of_column(options) else "INTEGER"


def _widen_tables() -> None:
    """What the tables' classes send has 64 bits too."""
    for table in SQLModel.metadata.tables.values():
        for column in table.columns:
            if type(column.type) is Integer:
                column.type = Integer().with_variant(BigInteger(), "postgresql")


@compiles(String, "postgresql")
def _string(_type: String, _compiler: Any, **options: Any) -> str:
    """Text in the order of its bytes, as SQLite has it.

    An order by language would be another one on another machine, and a newer C library that
    changes it leaves broken indexes behind.
    """
    return 'TEXT COLLATE "C"' if _is_of_column(options) else "TEXT"


@compiles(CreateColumn, "postgresql")
def _column(element: CreateColumn, compiler: Any, **options: Any) -> str:
    made: str = compiler.visit_create_column(element, **options)
    return made.replace(" SERIAL", " BIGSERIAL")


@compiles(CreateIndex, "postgresql")
def _index(element: CreateIndex, compiler: Any, **options: Any) -> str:
    """A partial index is one here too."""
    condition = element.element.dialect_options["sqlite"]["where"]
    if condition is not None:
        element.element.dialect_options["postgresql"]["where"] = condition
    made: str = compiler.visit_create_index(element, **options)
    return made


def tend_hot_tables(connection: Connection) -> None:
    """Have autovacuum look after them early. May be repeated."""
    for table in _HOT_TABLES:
        connection.execute(text(f"ALTER TABLE {table} SET ({_HOT})"))


_widen_tables()
