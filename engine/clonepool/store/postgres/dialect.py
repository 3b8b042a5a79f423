"""The store's hand-written SQL as PostgreSQL wants it: each statement translated once, then kept.

The store writes what SQLite and PostgreSQL both understand; what is left is here, whole.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from sqlalchemy import Connection

# a text; a cast; a value by its name; a value by its place; a percent sign, which the driver reads
_TOKEN: Final = re.compile(r"('(?:[^']|'')*')|(::)|:([a-z_][a-z0-9_]*)|(\?)|(%)")
_PHRASES: Final = (
    # 15 digits in SQLite's own text of a number, all of them in PostgreSQL's
    (re.compile(r"printf\('%!\.17g', ([a-z_.]+)\)"), r"CAST(\1 AS text)"),
    (re.compile(r"\bjson_object\("), "json_build_object("),
    (
        re.compile(r"\bvalue FROM json_each\((\?)\)"),
        r"value FROM json_array_elements_text(\1::json)",
    ),
    (re.compile(r"\bjson_each\(([a-z_.]+)\)"), r"json_each_text(CAST(\1 AS json))"),
    # SQLite knows IS DISTINCT FROM only since 3.39
    (re.compile(r"\bIS NOT (?!NULL\b)"), "IS DISTINCT FROM "),
)
# SQLite's triggers that refuse, and the guards' only kind
_TRIGGER: Final = re.compile(
    r"\s*CREATE TRIGGER (?P<name>\w+)\s+(?P<when>BEFORE (?:INSERT|DELETE|UPDATE(?: OF [\w, ]+)?)"
    r" ON (?P<table>\w+))(?:\s+WHEN (?P<condition>.*?))?"
    r"\s+BEGIN SELECT RAISE\(ABORT, (?P<text>'[^']*')\); END;?\s*",
    re.DOTALL,
)


@lru_cache(maxsize=2000)
def translated(statement: str) -> str:
    """A statement with SQLite's marks for values (``?``, ``:name``) as psycopg takes it."""
    for phrase, other in _PHRASES:
        statement = phrase.sub(other, statement)
    return _TOKEN.sub(_token, statement)


def as_driver_takes(connection: Connection, statement: str) -> str:
    """A statement for the driver itself, past SQLAlchemy."""
    return statement if connection.dialect.name == "sqlite" else translated(statement)


def _token(match: re.Match[str]) -> str:
    text, cast, name, place, _percent = match.groups()
    if text is not None:
        return text.replace("%", "%%")
    if cast:
        return cast
    if name:
        return f"%({name})s"
    return "%s" if place else "%%"


def translated_trigger(statement: str) -> tuple[str, str]:
    """A guard as PostgreSQL has it: a function, and the trigger that calls it.

    Raises ValueError for a trigger that does anything but refuse.
    """
    match = _TRIGGER.fullmatch(statement)
    if match is None:
        raise ValueError(f"no guard that PostgreSQL could have too: {statement}")
    condition = match["condition"] or "TRUE"
    for phrase, other in _PHRASES:
        condition = phrase.sub(other, condition)
    row = "OLD" if " DELETE " in match["when"] else "NEW"
    function = (
        f"CREATE FUNCTION {match['name']}() RETURNS trigger LANGUAGE plpgsql AS $guard$ BEGIN "
        f"IF {condition} THEN RAISE EXCEPTION USING ERRCODE = 'integrity_constraint_violation', "
        f"MESSAGE = {match['text']}; END IF; RETURN {row}; END $guard$"
    )
    trigger = (
        f"CREATE TRIGGER {match['name']} {match['when']} FOR EACH ROW "
        f"EXECUTE FUNCTION {match['name']}()"
    )
    return function, trigger
