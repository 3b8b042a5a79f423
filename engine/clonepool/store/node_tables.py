"""The tables of what engines that share a database tell each other; see ``tables``."""

from __future__ import annotations

from sqlmodel import Field, SQLModel


class Node(SQLModel, table=True):
    """An engine that shares this database; lists are kept as JSON.

    ``silent``: that it let its lease run out was told already.
    """

    name: str = Field(primary_key=True)
    machine: str
    version: str
    listen: str
    storages: str
    hostless: str
    fabrics: str
    started_at: float
    heard_at: float
    lease_until: float
    draining: bool
    silent: bool
