"""Drift: objects without a row in quarantine; volumes whose object is gone become faulty.

The table of moves is added to as it is found, so that this revision keeps the moves that others
before it added.
"""

import sqlalchemy as sa
from alembic import op

from clonepool.store.migrations import guards

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ANCHOR = "('faulty', 'scrubbing')"
ADDED = ", ('ready', 'faulty'), ('released', 'faulty')"


def upgrade() -> None:
    op.create_table(
        "orphan",
        sa.Column("storage", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("used_bytes", sa.BigInteger(), nullable=False),
        sa.Column("first_seen_at", sa.Float(), nullable=False),
        sa.Column("seen_at", sa.Float(), nullable=False),
        sa.Column("waited_s", sa.Float(), nullable=False),
        sa.Column("held", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("storage", "name"),
    )
    guards.replace("volume_moves", ANCHOR, ANCHOR + ADDED)


def downgrade() -> None:
    guards.replace("volume_moves", ANCHOR + ADDED, ANCHOR)
    op.drop_table("orphan")
