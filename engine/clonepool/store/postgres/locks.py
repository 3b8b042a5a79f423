"""PostgreSQL's advisory locks: who may write, and who may migrate, of all nodes.

They end with the transaction, so with the connection: a killed engine holds none.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, text

# "clonepool" in the first number: others may use the same database server
_CLASS: Final = 0x636C6F6E
WRITER: Final = 1
MIGRATION: Final = 2
TAKE: Final = f"SELECT pg_advisory_xact_lock({_CLASS}, {WRITER})"
"""Waits for the turn to write."""


def take_in_transaction(connection: Connection, number: int) -> None:
    """Wait for a lock that ends with the transaction."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:c, :n)"), {"c": _CLASS, "n": number})
