"""Triggers that refuse what a CHECK can't see, made and changed alike in SQLite and PostgreSQL.

They are written as SQLite has them. PostgreSQL gets the same condition in a function of the same
name, which keeps what it was made of as its comment.
"""

from __future__ import annotations

from alembic import op

from clonepool.store.postgres.dialect import translated_trigger


def create(name: str, body: str) -> None:
    """Make a guard; ``body`` is the trigger's text from its time (``BEFORE UPDATE ...``) on."""
    sql = f"CREATE TRIGGER {name} {body}"
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(sql)
        return
    function, trigger = translated_trigger(sql)
    kept = body.replace("'", "''")
    for statement in (function, trigger, f"COMMENT ON FUNCTION {name}() IS '{kept}'"):
        connection.exec_driver_sql(statement)


def drop(name: str) -> None:
    """Take a guard off."""
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"DROP TRIGGER {name}")
    else:
        connection.exec_driver_sql(f"DROP FUNCTION {name}() CASCADE")


def body_of(name: str) -> str:
    """A guard's text as ``create`` took it; an earlier revision may have changed it."""
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        sql = "SELECT sql FROM sqlite_master WHERE type = 'trigger' AND name = ?"
        made = str(connection.exec_driver_sql(sql, (name,)).scalar_one())
        return made.removeprefix(f"CREATE TRIGGER {name} ")
    sql = f"SELECT obj_description('{name}'::regproc, 'pg_proc')"
    return str(connection.exec_driver_sql(sql).scalar_one())


def replace(name: str, old: str, new: str) -> None:
    """Make a guard anew with ``new`` in the place of the first ``old``, which must be there."""
    body = body_of(name)
    if old not in body:
        raise RuntimeError(f"trigger {name} is not as an earlier revision wrote it: no {old}")
    drop(name)
    create(name, body.replace(old, new, 1))


def drop_functions(*names: str) -> None:
    """After the tables: PostgreSQL's functions outlive these."""
    if op.get_bind().dialect.name != "sqlite":
        for name in names:
            op.get_bind().exec_driver_sql(f"DROP FUNCTION IF EXISTS {name}()")
