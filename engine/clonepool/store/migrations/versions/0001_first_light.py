"""First light: images, pools, servers, attachments, volumes, scrub runs, operations, events.

The triggers guard what a CHECK cannot see: the table of a volume's moves, and that no volume
leaves `scrubbing` without the record of its erased generation.
"""

import sqlalchemy as sa
from alembic import op

from clonepool.store.migrations import guards

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

MOVES = """
    ('planned', 'cloning'), ('planned', 'deleting'),
    ('cloning', 'ready'), ('cloning', 'deleting'),
    ('ready', 'attaching'), ('ready', 'deleting'),
    ('attaching', 'allocated'), ('attaching', 'detaching'),
    ('allocated', 'detaching'),
    ('detaching', 'released'), ('detaching', 'cloning'), ('detaching', 'deleting'),
    ('released', 'scrubbing'),
    ('scrubbing', 'cloning'), ('scrubbing', 'deleting'), ('scrubbing', 'faulty'),
    ('faulty', 'scrubbing')
"""

TRIGGERS = {
    "volume_moves": f"""
        BEFORE UPDATE OF state ON volume
        WHEN OLD.state != NEW.state AND (OLD.state, NEW.state) NOT IN (VALUES {MOVES})
        BEGIN SELECT RAISE(ABORT, 'volume: no such move'); END""",
    "volume_slot_moves": """
        BEFORE UPDATE OF state ON volume
        WHEN OLD.state = 'detaching' AND NEW.state IN ('cloning', 'deleting') AND NOT OLD.slot
        BEGIN SELECT RAISE(ABORT, 'volume: released bytes must be scrubbed'); END""",
    "volume_scrubbed": """
        BEFORE UPDATE OF state ON volume
        WHEN OLD.state = 'scrubbing' AND NEW.state IN ('cloning', 'deleting') AND NOT EXISTS (
            SELECT 1 FROM scrub_record
            WHERE volume_id = OLD.id AND generation = OLD.generation)
        BEGIN SELECT RAISE(ABORT, 'volume: this generation has no scrub record'); END""",
    "volume_new_generation": """
        BEFORE UPDATE OF state ON volume
        WHEN NEW.state = 'cloning' AND OLD.state IN ('scrubbing', 'detaching')
            AND NEW.generation != OLD.generation + 1
        BEGIN SELECT RAISE(ABORT, 'volume: a reused volume needs a new generation'); END""",
    "volume_starts_new": """
        BEFORE INSERT ON volume
        WHEN NEW.state != 'planned'
        BEGIN SELECT RAISE(ABORT, 'volume: a new volume is planned'); END""",
    "volume_forgotten": """
        BEFORE DELETE ON volume
        WHEN OLD.state != 'deleting'
        BEGIN SELECT RAISE(ABORT, 'volume: only one that is being deleted is forgotten'); END""",
    "scrub_record_fixed": """
        BEFORE UPDATE ON scrub_record
        BEGIN SELECT RAISE(ABORT, 'scrub records are never changed'); END""",
    "scrub_record_kept": """
        BEFORE DELETE ON scrub_record
        BEGIN SELECT RAISE(ABORT, 'scrub records are never deleted'); END""",
}


def _create_event() -> None:
    op.create_table(
        "event",
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("severity", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("n"),
        sqlite_autoincrement=True,
    )


def _create_meta() -> None:
    op.create_table(
        "meta",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )


def _create_operation() -> None:
    op.create_table(
        "operation",
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("node", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("run_after", sa.Float(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("lease_until", sa.Float(), nullable=False),
        sa.Column("progress_bytes", sa.BigInteger(), nullable=False),
        sa.Column("total_bytes", sa.BigInteger(), nullable=False),
        sa.Column("error", sa.String(), nullable=False),
        sa.Column("cancel", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("finished_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("n"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_operation_due",
        "operation",
        ["node", "run_after", "n"],
        unique=False,
        sqlite_where=sa.text("state = 'queued'"),
    )
    op.create_index("ix_operation_key", "operation", ["key"], unique=False)
    op.create_index("ux_operation_id", "operation", ["id"], unique=True)
    op.create_index(
        "ux_operation_open",
        "operation",
        ["kind", "key"],
        unique=True,
        sqlite_where=sa.text("state IN ('queued', 'running')"),
    )


def _create_scrub_record() -> None:
    op.create_table(
        "scrub_record",
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("volume_id", sa.String(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("pool_name", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("user_name", sa.String(), nullable=True),
        sa.Column("user_kind", sa.String(), nullable=True),
        sa.Column("attachment_id", sa.String(), nullable=False),
        sa.Column("server_name", sa.String(), nullable=False),
        sa.Column("method", sa.String(), nullable=False),
        sa.Column("after_scrub", sa.String(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("allocated_at", sa.Float(), nullable=True),
        sa.Column("released_at", sa.Float(), nullable=False),
        sa.Column("started_at", sa.Float(), nullable=False),
        sa.Column("finished_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("n"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_record_run", "scrub_record", ["run_id"], unique=False)
    op.create_index(
        "ux_record_generation", "scrub_record", ["volume_id", "generation"], unique=True
    )


def _create_scrub_run() -> None:
    op.create_table(
        "scrub_run",
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("pool_id", sa.String(), nullable=False),
        sa.Column("pool_name", sa.String(), nullable=False),
        sa.Column("trigger", sa.String(), nullable=False),
        sa.Column("method", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("volumes", sa.Integer(), nullable=False),
        sa.Column("recycled", sa.Integer(), nullable=False),
        sa.Column("destroyed", sa.Integer(), nullable=False),
        sa.Column("faulty", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.Float(), nullable=False),
        sa.Column("finished_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("n"),
        sqlite_autoincrement=True,
    )
    op.create_index("ux_run_id", "scrub_run", ["id"], unique=True)


def _create_image() -> None:
    op.create_table(
        "image",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("user_name", sa.String(), nullable=True),
        sa.Column("user_kind", sa.String(), nullable=True),
        sa.Column("storage", sa.String(), nullable=False),
        sa.Column("labels", sa.String(), nullable=False),
        sa.Column("token", sa.String(), nullable=False),
        sa.Column("token_digest", sa.String(), nullable=False),
        sa.Column("current_version_id", sa.String(), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("deleted_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "ux_image_name", "image", ["name"], unique=True, sqlite_where=sa.text("deleted_at IS NULL")
    )


def _create_image_version() -> None:
    op.create_table(
        "image_version",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("image_id", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("storage", sa.String(), nullable=False),
        sa.Column("content", sa.String(), nullable=False),
        sa.Column("content_digest", sa.String(), nullable=False),
        sa.Column("ro_object", sa.String(), nullable=True),
        sa.Column("ro_size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("ro_digest", sa.String(), nullable=False),
        sa.Column("rw_object", sa.String(), nullable=True),
        sa.Column("rw_size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("rw_digest", sa.String(), nullable=False),
        sa.Column("error", sa.String(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["image_id"],
            ["image.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ux_version_number", "image_version", ["image_id", "number"], unique=True)


def _create_pool() -> None:
    op.create_table(
        "pool",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("image_id", sa.String(), nullable=False),
        sa.Column("image_name", sa.String(), nullable=False),
        sa.Column("image_version", sa.Integer(), nullable=False),
        sa.Column("fabric", sa.String(), nullable=False),
        sa.Column("min_ready", sa.Integer(), nullable=False),
        sa.Column("max_replicas", sa.Integer(), nullable=False),
        sa.Column("clone_mode", sa.String(), nullable=False),
        sa.Column("when_empty", sa.String(), nullable=False),
        sa.Column("wait_for_ready", sa.Integer(), nullable=False),
        sa.Column("max_unavailable", sa.Integer(), nullable=False),
        sa.Column("scrub_threshold", sa.Integer(), nullable=False),
        sa.Column("scrub_method", sa.String(), nullable=False),
        sa.Column("scrub_then", sa.String(), nullable=False),
        sa.Column("scrub_on_low_space", sa.Boolean(), nullable=False),
        sa.Column("clone_kind", sa.String(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("stopped_reason", sa.String(), nullable=False),
        sa.Column("token", sa.String(), nullable=False),
        sa.Column("token_digest", sa.String(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("deleted_at", sa.Float(), nullable=True),
        sa.CheckConstraint("min_ready <= max_replicas", name="pool_fits"),
        sa.ForeignKeyConstraint(
            ["image_id"],
            ["image.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_pool_image", "pool", ["image_id"], unique=False)
    op.create_index(
        "ux_pool_name", "pool", ["name"], unique=True, sqlite_where=sa.text("deleted_at IS NULL")
    )


def _create_server() -> None:
    op.create_table(
        "server",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("initiator", sa.String(), nullable=True),
        sa.Column("labels", sa.String(), nullable=False),
        sa.Column("inline", sa.Boolean(), nullable=False),
        sa.Column("user_name", sa.String(), nullable=True),
        sa.Column("user_kind", sa.String(), nullable=True),
        sa.Column("token", sa.String(), nullable=False),
        sa.Column("token_digest", sa.String(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.CheckConstraint("(user_name IS NULL) = (user_kind IS NULL)", name="server_user"),
        sa.CheckConstraint("initiator = lower(initiator)", name="initiator_lower"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "ux_server_initiator",
        "server",
        ["initiator"],
        unique=True,
        sqlite_where=sa.text("initiator IS NOT NULL"),
    )
    op.create_index("ux_server_name", "server", ["name"], unique=True)


def _create_attachment() -> None:
    op.create_table(
        "attachment",
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("pool_id", sa.String(), nullable=False),
        sa.Column("server_id", sa.String(), nullable=False),
        sa.Column("user_name", sa.String(), nullable=False),
        sa.Column("user_kind", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("lease_until", sa.Float(), nullable=False),
        sa.Column("warm", sa.Boolean(), nullable=False),
        sa.Column("volume_id", sa.String(), nullable=True),
        sa.Column("volume_generation", sa.Integer(), nullable=False),
        sa.Column("image_version", sa.Integer(), nullable=False),
        sa.Column("spec", sa.String(), nullable=False),
        sa.Column("chap_mode", sa.String(), nullable=False),
        sa.Column("chap_username", sa.String(), nullable=False),
        sa.Column("chap_secret", sa.String(), nullable=False),
        sa.Column("force_detach", sa.Boolean(), nullable=False),
        sa.Column("token", sa.String(), nullable=False),
        sa.Column("token_digest", sa.String(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("allocated_at", sa.Float(), nullable=True),
        sa.Column("changed_at", sa.Float(), nullable=False),
        sa.CheckConstraint(
            "(state = 'waiting') = (volume_id IS NULL)", name="attachment_holds_volume"
        ),
        sa.CheckConstraint(
            "state IN ('waiting', 'attached', 'detaching')", name="attachment_state"
        ),
        sa.ForeignKeyConstraint(
            ["pool_id"],
            ["pool.id"],
        ),
        sa.ForeignKeyConstraint(
            ["server_id"],
            ["server.id"],
        ),
        sa.PrimaryKeyConstraint("n"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_attachment_detaching",
        "attachment",
        ["changed_at"],
        unique=False,
        sqlite_where=sa.text("state = 'detaching'"),
    )
    op.create_index("ix_attachment_pool", "attachment", ["pool_id"], unique=False)
    op.create_index("ix_attachment_server", "attachment", ["server_id"], unique=False)
    op.create_index(
        "ix_attachment_waiting",
        "attachment",
        ["pool_id", "n"],
        unique=False,
        sqlite_where=sa.text("state = 'waiting'"),
    )
    op.create_index("ux_attachment_id", "attachment", ["id"], unique=True)
    op.create_index("ux_attachment_name", "attachment", ["name"], unique=True)


def _create_volume() -> None:
    op.create_table(
        "volume",
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("pool_id", sa.String(), nullable=False),
        sa.Column("image_version_id", sa.String(), nullable=False),
        sa.Column("node", sa.String(), nullable=False),
        sa.Column("storage", sa.String(), nullable=False),
        sa.Column("fabric", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("slot", sa.Boolean(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("used_bytes", sa.BigInteger(), nullable=False),
        sa.Column("clone_kind", sa.String(), nullable=False),
        sa.Column("attachment_id", sa.String(), nullable=True),
        sa.Column("last_attachment_id", sa.String(), nullable=False),
        sa.Column("last_user_name", sa.String(), nullable=True),
        sa.Column("last_user_kind", sa.String(), nullable=True),
        sa.Column("last_server", sa.String(), nullable=False),
        sa.Column("last_allocated_at", sa.Float(), nullable=True),
        sa.Column("released_at", sa.Float(), nullable=True),
        sa.Column("scrub_run_id", sa.String(), nullable=True),
        sa.Column("after_scrub", sa.String(), nullable=False),
        sa.Column("error", sa.String(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("changed_at", sa.Float(), nullable=False),
        sa.CheckConstraint(
            "(state = 'scrubbing') <= (scrub_run_id IS NOT NULL)", name="volume_scrub_run"
        ),
        sa.CheckConstraint(
            "(state IN ('attaching', 'allocated', 'detaching')) = (attachment_id IS NOT NULL)",
            name="volume_has_one_attachment",
        ),
        sa.ForeignKeyConstraint(
            ["image_version_id"],
            ["image_version.id"],
        ),
        sa.ForeignKeyConstraint(
            ["pool_id"],
            ["pool.id"],
        ),
        sa.PrimaryKeyConstraint("n"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_volume_counts", "volume", ["pool_id", "state", "image_version_id"], unique=False
    )
    op.create_index(
        "ix_volume_ready",
        "volume",
        ["pool_id", "image_version_id", "changed_at", "n"],
        unique=False,
        sqlite_where=sa.text("state = 'ready'"),
    )
    op.create_index(
        "ix_volume_run",
        "volume",
        ["scrub_run_id"],
        unique=False,
        sqlite_where=sa.text("scrub_run_id IS NOT NULL"),
    )
    op.create_index("ix_volume_version", "volume", ["image_version_id"], unique=False)
    op.create_index(
        "ux_volume_attachment",
        "volume",
        ["attachment_id"],
        unique=True,
        sqlite_where=sa.text("attachment_id IS NOT NULL"),
    )
    op.create_index("ux_volume_id", "volume", ["id"], unique=True)


def upgrade() -> None:
    _create_event()
    _create_meta()
    _create_operation()
    _create_scrub_record()
    _create_scrub_run()
    _create_image()
    _create_image_version()
    _create_pool()
    _create_server()
    _create_attachment()
    _create_volume()
    for name, body in TRIGGERS.items():
        guards.create(name, body)


def downgrade() -> None:
    for table in reversed(
        (
            "event",
            "meta",
            "operation",
            "scrub_record",
            "scrub_run",
            "image",
            "image_version",
            "pool",
            "server",
            "attachment",
            "volume",
        )
    ):
        op.drop_table(table)
    guards.drop_functions(*TRIGGERS)
