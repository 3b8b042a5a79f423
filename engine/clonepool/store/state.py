"""The state as the controllers see it: snapshots to read, durable changes, sealed secrets."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

from sqlmodel import Session

from clonepool.store.database import Database
from clonepool.store.secrets import SecretBox
from clonepool.store.writer import Change, Outage, Writer

Result = TypeVar("Result")
Clock = Callable[[], float]


class State:
    """One engine's database, writer and key; ``node`` is this engine's name in the rows."""

    def __init__(self, *, folder: Path, node: str, clock: Clock) -> None:
        self.node = node
        self.clock = clock
        self.database = Database(folder / "clonepool.db")
        self.secrets = SecretBox(folder / "secret.key")
        self._writer = Writer(self.database)
        self.engine_id = self.write(
            lambda transaction: transaction.sql(
                "INSERT INTO meta(key, value) VALUES ('engine_id', ?) "
                "ON CONFLICT (key) DO UPDATE SET value = value RETURNING value",
                (str(uuid.uuid4()),),
            ).fetchone()[0]
        )

    @property
    def is_shared(self) -> bool:
        """Whether engines on other machines may have the same database."""
        return not isinstance(self.database, Database)

    def read(self) -> AbstractContextManager[Session]:
        """A session on one consistent snapshot."""
        return self.database.read()

    def write(self, change: Change[Result]) -> Result:
        """Run a change; durable when it returns. See Writer.write."""
        return self._writer.write(change)

    def submit(self, change: Change[Result]) -> Future[Result]:
        """Run a change without waiting for it."""
        return self._writer.submit(change)

    def defer(self, change: Change[Result]) -> Future[Result]:
        """Run a change with the next commit, whoever asks for that. See Writer.defer."""
        return self._writer.defer(change)

    def take_outage(self) -> Outage | None:
        """The last time that the database took no change, once it is over. See Writer."""
        return self._writer.take_outage()

    def close(self) -> None:
        """Finish pending changes and close."""
        self._writer.close()
        self.database.close()
