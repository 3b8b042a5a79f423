"""The rows as they are on the disk, read past the engine: what would be left if it died now."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clonepool.domain import names
from clonepool.domain.states import PortionRole

_QUERIES = {
    "volumes": "SELECT * FROM volume",
    "attachments": "SELECT * FROM attachment ORDER BY n",
    "records": "SELECT * FROM scrub_record ORDER BY n",
    "versions": "SELECT * FROM image_version",
    "images": "SELECT * FROM image",
    "pools": "SELECT * FROM pool",
    "servers": "SELECT * FROM server",
    "operations": "SELECT * FROM operation WHERE state IN ('queued', 'running')",
    "runs": "SELECT * FROM scrub_run",
    "holds": "SELECT * FROM hold ORDER BY n",
    "orphans": "SELECT * FROM orphan",
}


@dataclass(frozen=True)
class Row:
    """One row, by the names of its columns."""

    columns: Mapping[str, Any]

    def __getattr__(self, name: str) -> Any:
        return self.columns[name]

    @property
    def object_name(self) -> str:
        """Of a volume: its object, and its target."""
        return names.volume_object(volume_id=self.id, generation=self.generation)

    def __str__(self) -> str:
        shown = ("id", "name", "state", "generation", "attachment_id", "volume_id")
        return " ".join(f"{key}={self.columns[key]}" for key in shown if key in self.columns)


@dataclass(frozen=True, kw_only=True)
class Rows:
    """One snapshot of every table."""

    volumes: Sequence[Row]
    attachments: Sequence[Row]
    records: Sequence[Row]
    versions: Sequence[Row]
    images: Sequence[Row]
    pools: Sequence[Row]
    servers: Sequence[Row]
    operations: Sequence[Row]
    runs: Sequence[Row]
    holds: Sequence[Row]
    orphans: Sequence[Row]

    def volume(self, volume_id: str) -> Row | None:
        """One volume."""
        return next((each for each in self.volumes if each.id == volume_id), None)

    def held_of(self, pool_id: str, *, now: float, before: int = 2**62) -> int:
        """How many ready replicas of a pool are for tickets, those of holds before one."""
        return sum(
            each.remaining
            for each in self.holds
            if each.pool_id == pool_id and each.expires_at > now and each.n < before
        )

    def portions(self) -> Mapping[str, Row]:
        """Each portion's object that a version may have, by name."""
        return {
            names.portion_object(version_id=version.id, role=role): version
            for version in self.versions
            for role in PortionRole
        }


class PostgresRowReader:
    """The same where the state is in PostgreSQL."""

    def __init__(self, url: str) -> None:
        import psycopg  # noqa: PLC0415 - only where the marker is

        self._connection = psycopg.connect(url, autocommit=True)
        self._version = ""
        self._read: Rows | None = None

    def read(self) -> Rows:
        """Everything that is durable now; read anew when anybody wrote since."""
        row = self._connection.execute("SELECT pg_current_snapshot()::text").fetchone()
        assert row is not None
        if self._read is None or row[0] != self._version:
            with self._connection.transaction():
                self._connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                self._read = Rows(**{name: self._rows(sql) for name, sql in _QUERIES.items()})
            self._version = row[0]
        return self._read

    def _rows(self, sql: str) -> list[Row]:
        cursor = self._connection.execute(sql.encode())
        assert cursor.description is not None
        columns = [column.name for column in cursor.description]
        return [Row(dict(zip(columns, row, strict=True))) for row in cursor]

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class RowReader:
    """Reads snapshots through a connection of its own."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._version = -1
        self._read: Rows | None = None

    def read(self) -> Rows:
        """Everything that is durable now; read anew when anybody committed since."""
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        if self._read is None or version != self._version:
            self._connection.execute("BEGIN")
            self._read = Rows(**{name: self._rows(sql) for name, sql in _QUERIES.items()})
            self._connection.execute("ROLLBACK")
            self._version = version
        return self._read

    def _rows(self, sql: str) -> list[Row]:
        cursor = self._connection.execute(sql)
        columns = [column[0] for column in cursor.description]
        return [Row(dict(zip(columns, row, strict=True))) for row in cursor.fetchall()]

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
