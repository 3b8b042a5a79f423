"""The state as the controllers see it: snapshots to read, durable changes, sealed secrets."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

from sqlmodel import Session

from clonepool.errors import DataLoss, FailedPrecondition
from clonepool.store.connections import Clock, StateDatabase
from clonepool.store.database import Database
from clonepool.store.high_water import COMMITS, HighWater
from clonepool.store.meta_keys import ENGINE_ID, KEY_CHECK, MOVED_TO, RESTORES
from clonepool.store.secrets import SecretBox
from clonepool.store.writer import Change, Outage, Transaction, Writer

Result = TypeVar("Result")
_FIND = "SELECT value FROM meta WHERE key = ?"
_KEEP = """
    INSERT INTO meta(key, value) VALUES (?, ?)
    ON CONFLICT (key) DO UPDATE SET value = meta.value RETURNING value
"""


class State:
    """One engine's database, writer and key; ``node`` is this engine's name in the rows.

    ``url`` of a PostgreSQL database, which other nodes may share; "" for SQLite in ``folder``.
    ``key_path`` where the key is not in ``folder``. ``clock`` stamps and ends everything; None
    takes the database's, or, where it has none, the machine's. ``storages`` are folders that a
    backup of the state does not put back; ``is_behind`` says that the database was further once.
    Raises FailedPrecondition when the key is not the one that sealed the database's secrets.
    """

    def __init__(
        self,
        *,
        folder: Path,
        node: str,
        clock: Clock | None,
        url: str = "",
        key_path: Path | None = None,
        storages: Sequence[Path] = (),
    ) -> None:
        self.node = node
        self.high_water = HighWater(folder, storages=storages, node=node)
        self.database: StateDatabase = (
            _open_postgres(url, node=node) if url else Database(folder / "clonepool.db")
        )
        try:
            self._key_path = key_path or folder / "secret.key"
            self.clock = clock or self.database.clock or time.time
            self.secrets = self._open_secrets()
            self.is_behind = self._is_behind()
            self._writer = Writer(self.database)
            self._writer.high_water = self.high_water
        except BaseException:
            self.database.close()
            raise
        try:
            self.engine_id = self.write(self._agree)
        except BaseException:
            self.close()
            raise
        if not self.is_behind:
            self.note_restore(self._restores()[-1])

    def _is_behind(self) -> bool:
        """Whether this host has seen the database further than it is."""
        notes = self.high_water.read()
        engine_id = self._fact(ENGINE_ID) or ""
        found = {note.node: int(self._fact(COMMITS + note.node) or 0) for note in notes}
        return any(
            note.is_ahead_of(engine_id=engine_id, restores=self._restores(), commits=found)
            for note in notes
        )

    def _restores(self) -> Sequence[str]:
        return (self._fact(RESTORES) or "").split(",")

    def note_restore(self, restore_id: str) -> None:
        """What is in doubt since the database was put back is on record: notes begin anew."""
        self.high_water.begin(engine_id=self.engine_id, restore_id=restore_id)
        self.is_behind = False

    def _open_secrets(self) -> SecretBox:
        moved_to = self._fact(MOVED_TO)
        if moved_to is not None:
            text = (
                f"the state in {self.database.shown} was moved to {moved_to}: set database (or "
                "CLONEPOOL_DATABASE, --database) to that; if the move was cut off, run "
                "`clonepool database migrate` again"
            )
            raise FailedPrecondition(text, reason="STATE_MOVED")
        if self._fact(KEY_CHECK) is not None and not self._key_path.exists():
            # a new one would open nothing; nor may it lie there as if it were the right one
            raise self._wrong_key("is missing")
        return SecretBox(self._key_path)

    def _fact(self, key: str) -> str | None:
        with self.database.read() as session:
            row = session.connection().exec_driver_sql(_FIND, (key,)).first()
        return row[0] if row else None

    def _agree(self, transaction: Transaction) -> str:
        """What all engines of this database share: its id, and its secrets' key."""
        mine = self.secrets.seal(KEY_CHECK, context=KEY_CHECK)
        sealed = transaction.sql(_KEEP, (KEY_CHECK, mine)).fetchone()[0]
        try:
            self.secrets.open(sealed, context=KEY_CHECK)
        except DataLoss:
            raise self._wrong_key("is another one") from None
        transaction.sql(_KEEP, (RESTORES, str(uuid.uuid4())))
        return str(transaction.sql(_KEEP, (ENGINE_ID, str(uuid.uuid4()))).fetchone()[0])

    def _wrong_key(self, state: str) -> FailedPrecondition:
        text = (
            f"the secrets in {self.database.shown} are sealed with a key, and {self._key_path} "
            f"{state}; put that key file there (from a backup, or from another node), or name it "
            "by --secret-key-file"
        )
        return FailedPrecondition(text, reason="SECRET_KEY")

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
        self.high_water.close()
        self.database.close()


def _open_postgres(url: str, *, node: str) -> StateDatabase:
    try:
        from clonepool.store.postgres.database import (  # noqa: PLC0415 - only where it is used
            PostgresDatabase,
        )
    except ImportError as missing:
        if (missing.name or "psycopg").partition(".")[0] != "psycopg":
            raise
        raise FailedPrecondition(
            f"the state in PostgreSQL needs psycopg, which can't be loaded ({missing}); run "
            "pip install 'clonepool[engine,postgres]'",
            reason="EXTRA_MISSING",
        ) from None
    return PostgresDatabase(url, node=node)
