"""Holds: what tickets hold of pools."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "hold",
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("ticket", sa.String(), nullable=False),
        sa.Column("pool_id", sa.String(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("remaining", sa.Integer(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("token", sa.String(), nullable=False),
        sa.Column("token_digest", sa.String(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.CheckConstraint("0 <= remaining AND remaining <= count", name="hold_remaining"),
        sa.CheckConstraint("count >= 1", name="hold_count"),
        sa.ForeignKeyConstraint(["pool_id"], ["pool.id"]),
        sa.PrimaryKeyConstraint("n"),
        sqlite_autoincrement=True,
    )
    op.create_index("ux_hold_pool", "hold", ["ticket", "pool_id"], unique=True)
    op.create_index("ix_hold_token", "hold", ["token"], unique=False)
    op.create_index(
        "ix_hold_active",
        "hold",
        ["pool_id", "expires_at", "n", "remaining"],
        unique=False,
        sqlite_where=sa.text("remaining > 0"),
    )


def downgrade() -> None:
    op.drop_table("hold")
