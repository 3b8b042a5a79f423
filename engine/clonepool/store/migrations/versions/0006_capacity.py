"""Capacity: why a pool can't be filled; what a volume uses is what it shares with nothing."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "pool", sa.Column("short_of_space", sa.String(), nullable=False, server_default="")
    )
    # what a thin clone shared with its image was counted; too little is safe until it is measured
    op.execute("UPDATE volume SET used_bytes = 0 WHERE clone_kind != 'full'")


def downgrade() -> None:
    op.drop_column("pool", "short_of_space")
