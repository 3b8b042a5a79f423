"""What a database must offer to hold the state: snapshots to read, one connection to write."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from sqlalchemy import Connection, Engine
from sqlmodel import Session

Clock = Callable[[], float]
Parameters = Sequence[Any] | Mapping[str, Any]


class Cursor(Protocol):
    """What a statement found; the drivers' own cursors are this."""

    @property
    def rowcount(self) -> int:
        """How many rows it changed."""

    @property
    def description(self) -> Any:
        """Its columns; the first item of each is the name."""

    def fetchone(self) -> Any:
        """The next row, None after the last."""

    def fetchall(self) -> list[Any]:
        """The rows that are left."""

    def __iter__(self) -> Iterator[Any]:
        """The rows that are left."""


class WritingConnection(Protocol):
    """The writer's own connection: one transaction at a time, in it a savepoint for each change."""

    @property
    def execute(self) -> Callable[..., Cursor]:
        """Runs a statement: its text, and its values in a sequence or by their names."""

    @property
    def raw(self) -> Any:
        """The driver's own connection."""

    @property
    def sqlalchemy(self) -> Connection:
        """The same connection, for sessions."""

    @property
    def in_transaction(self) -> bool:
        """Whether the transaction still is: a database may end it by itself."""

    def begin(self) -> None:
        """Begin, when no other transaction writes: waits for that."""

    def save(self) -> None:
        """Remember where one change begins."""

    def undo(self) -> None:
        """Undo the change."""

    def keep(self) -> None:
        """The change stands, with the transaction."""

    def insert(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        """Insert rows of one table by one statement, given up to its values."""

    def commit(self) -> None:
        """Make all of it durable."""

    def end(self) -> None:
        """Undo what was not committed; the connection is ready for the next ``begin``."""

    def says(self, error: BaseException) -> str | None:
        """What the database said; None for an error that is not its own."""

    def is_guard(self, error: BaseException) -> bool:
        """Whether an invariant of the schema refused a change."""

    def may_be_repeated(self, error: BaseException, /) -> bool:
        """Whether a change failed only for what others did at the same time."""

    def close(self) -> None:
        """End it."""


class StateDatabase(Protocol):
    """A migrated database."""

    engine: Engine
    """For reading."""
    shown: str
    """Its path, or its URL without secrets."""
    clock: Clock | None
    """The database's own clock, which all nodes share; None where the machine's is as good."""

    def read(self) -> AbstractContextManager[Session]:
        """A session on one consistent snapshot; for reading only."""

    def writing(self) -> WritingConnection:
        """A connection for the writer."""

    def close(self) -> None:
        """Close every connection of readers."""
