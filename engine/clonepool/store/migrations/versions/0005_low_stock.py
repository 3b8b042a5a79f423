"""Low stock: below how many ready replicas released volumes are scrubbed before their time."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "pool", sa.Column("scrub_on_low_stock", sa.Integer(), nullable=False, server_default="0")
    )


def downgrade() -> None:
    op.drop_column("pool", "scrub_on_low_stock")
