"""Scrubbing with proof: verification, windows, undone and resumed releases, the audit's chain.

What an older version scrubbed and released is chained here, in the order in which it happened.
"""

import json
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import sqlalchemy as sa
from alembic import op

from clonepool.store.migrations import guards

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

COLUMNS = {
    "pool": (
        sa.Column("scrub_max_age_s", sa.Float(), nullable=False, server_default="0"),
        sa.Column("scrub_max_bytes", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("scrub_verify", sa.String(), nullable=False, server_default="none"),
        sa.Column("scrub_undo_window_s", sa.Float(), nullable=False, server_default="0"),
        sa.Column("scrub_windows", sa.String(), nullable=False, server_default="[]"),
        sa.Column("scrub_assurance", sa.String(), nullable=False, server_default="clear"),
    ),
    "attachment": (sa.Column("resumed_release", sa.Float(), nullable=True),),
    "volume": (sa.Column("read_back", sa.String(), nullable=False, server_default=""),),
    "scrub_run": (sa.Column("verify", sa.String(), nullable=False, server_default="none"),),
    "scrub_record": (
        sa.Column("verify", sa.String(), nullable=False, server_default="none"),
        sa.Column("result", sa.String(), nullable=False, server_default="none"),
        sa.Column("expected", sa.String(), nullable=False, server_default=""),
        sa.Column("bytes_read", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("digest", sa.String(), nullable=False, server_default=""),
        sa.Column("hash", sa.String(), nullable=False, server_default=""),
    ),
}
DUE = {
    "ix_operation_due_scrub": "kind = 'scrub_volume'",
    "ix_operation_due_other": "kind != 'scrub_volume'",
}
TRIGGERS = {
    "volume_resumed": """
        BEFORE UPDATE OF state ON volume
        WHEN OLD.state = 'released' AND NEW.state = 'attaching' AND (
            NEW.generation != OLD.generation OR NEW.pool_id != OLD.pool_id
            OR OLD.last_user_name IS NULL
            OR NEW.last_user_name IS NOT OLD.last_user_name
            OR NEW.last_user_kind IS NOT OLD.last_user_kind)
        BEGIN SELECT RAISE(ABORT, 'volume: released bytes go back to their own user only'); END""",
    "audit_entry_fixed": """
        BEFORE UPDATE ON audit_entry
        BEGIN SELECT RAISE(ABORT, 'audit entries are never changed'); END""",
    "audit_entry_kept": """
        BEFORE DELETE ON audit_entry
        BEGIN SELECT RAISE(ABORT, 'audit entries are never deleted'); END""",
}
_SCRUB_MOVE = "('released', 'scrubbing')"
_RESUME_MOVE = "('released', 'attaching')"
_HELD = """
    SELECT volume_id, generation, pool_name, attachment_id, user_name, user_kind, server_name,
        allocated_at, released_at, run_id, method, after_scrub, size_bytes, started_at,
        finished_at, n
    FROM scrub_record ORDER BY n
"""
_WAITING = """
    SELECT v.id, v.generation, p.name, v.last_attachment_id, v.last_user_name, v.last_user_kind,
        v.last_server, v.last_allocated_at, v.released_at
    FROM volume v JOIN pool p ON p.id = v.pool_id
    WHERE v.state IN ('released', 'scrubbing', 'faulty') AND v.released_at IS NOT NULL
    ORDER BY v.released_at, v.n
"""


def _create_tables() -> None:
    op.create_table(
        "released_attachment",
        sa.Column("volume_id", sa.String(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("attachment_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("pool_id", sa.String(), nullable=False),
        sa.Column("user_name", sa.String(), nullable=False),
        sa.Column("user_kind", sa.String(), nullable=False),
        sa.Column("released_at", sa.Float(), nullable=False),
        sa.Column("superseded", sa.Boolean(), nullable=False),
        sa.Column("attachment", sa.String(), nullable=False),
        sa.Column("server", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("volume_id"),
    )
    op.create_index("ix_released_name", "released_attachment", ["name"], unique=False)
    op.create_index("ix_released_id", "released_attachment", ["attachment_id"], unique=False)
    op.create_table(
        "audit_entry",
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("body", sa.String(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("n"),
    )
    op.create_index("ix_audit_at", "audit_entry", ["at"], unique=False)


def _create_indexes() -> None:
    op.create_index(
        "ix_volume_released",
        "volume",
        ["pool_id", "released_at"],
        unique=False,
        sqlite_where=sa.text("state = 'released'"),
    )
    for name, condition in DUE.items():
        op.create_index(
            name,
            "operation",
            ["node", "run_after", "n"],
            unique=False,
            sqlite_where=sa.text(f"state = 'queued' AND {condition}"),
        )


class _Chain:
    """As clonepool.domain.audit at this revision; a migration must not follow later changes."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        row = connection.exec_driver_sql("SELECT value FROM meta WHERE key = 'engine_id'").first()
        engine_id = row[0] if row else ""
        self._previous = sha256(f"clonepool-audit-1 {engine_id}".encode()).hexdigest()
        self._n = 0

    def append(self, *, kind: str, at: float, body: dict[str, Any]) -> str:
        self._n += 1
        entry = {"n": self._n, "previous": self._previous, "kind": kind, **body}
        text = json.dumps(entry, sort_keys=True, separators=(",", ":"))
        self._previous = sha256(text.encode()).hexdigest()
        self._connection.exec_driver_sql(
            "INSERT INTO audit_entry(n, at, body, hash) VALUES (?, ?, ?, ?)",
            (self._n, at, text, self._previous),
        )
        return self._previous


def _when(at: float | None) -> str | None:
    if at is None:
        return None
    return datetime.fromtimestamp(at, tz=UTC).isoformat(timespec="microseconds")


def _held_body(row: Any) -> dict[str, Any]:
    return {
        "volume": row[0],
        "generation": row[1],
        "pool": row[2],
        "attachment": row[3],
        "attachment_name": "",
        "system_user": {"name": row[4] or "", "kind": row[5] or ""},
        "server": row[6],
        "allocated_at": _when(row[7]),
        "released_at": _when(row[8]),
    }


def _chain_what_was() -> None:
    connection = op.get_bind()
    chain = _Chain(connection)
    for row in connection.exec_driver_sql(_HELD).all():
        held = _held_body(row)
        chain.append(kind="held", at=row[8], body=held)
        held.pop("attachment_name")
        body = held | {
            "run": row[9],
            "method": row[10],
            "then": row[11],
            "size_bytes": row[12],
            "started_at": _when(row[13]),
            "finished_at": _when(row[14]),
            "read_back": {
                "mode": "none",
                "result": "none",
                "expected": "",
                "bytes_read": 0,
                "digest": "",
            },
        }
        link = chain.append(kind="scrubbed", at=row[14], body=body)
        connection.exec_driver_sql("UPDATE scrub_record SET hash = ? WHERE n = ?", (link, row[15]))
    for row in connection.exec_driver_sql(_WAITING).all():
        chain.append(kind="held", at=row[8], body=_held_body(row))


def upgrade() -> None:
    for table, columns in COLUMNS.items():
        for column in columns:
            op.add_column(table, column._copy())  # down and up again makes it anew
    _create_tables()
    _create_indexes()
    fixed = guards.body_of("scrub_record_fixed")
    guards.drop("scrub_record_fixed")
    _chain_what_was()
    guards.create("scrub_record_fixed", fixed)
    guards.replace("volume_moves", _SCRUB_MOVE, f"{_SCRUB_MOVE}, {_RESUME_MOVE}")
    for name, body in TRIGGERS.items():
        guards.create(name, body)


def downgrade() -> None:
    for name in TRIGGERS:
        guards.drop(name)
    guards.replace("volume_moves", f"{_SCRUB_MOVE}, {_RESUME_MOVE}", _SCRUB_MOVE)
    op.drop_index("ix_volume_released", "volume")
    for name in DUE:
        op.drop_index(name, "operation")
    op.drop_table("audit_entry")
    op.drop_table("released_attachment")
    for table, columns in COLUMNS.items():
        for column in columns:
            op.drop_column(table, column.name)
