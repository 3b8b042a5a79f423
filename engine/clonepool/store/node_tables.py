"""The tables of what engines that share a database tell each other; see ``tables``."""

from __future__ import annotations

from sqlalchemy import Index, text
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
    abilities: str
    started_at: float
    heard_at: float
    lease_until: float
    draining: bool
    silent: bool


class Errand(SQLModel, table=True):
    """What a node is asked to do at its own fabric, for a caller of another node.

    ``state`` is asked, done or refused; what was refused says why, by the name of the error's kind.
    """

    __table_args__ = (Index("ix_errand_asked", "node", sqlite_where=text("state = 'asked'")),)

    kind: str = Field(primary_key=True)
    attachment_id: str = Field(primary_key=True)
    node: str
    force: bool
    state: str
    error_kind: str
    reason: str
    error: str
    asked_at: float
    ended_at: float
