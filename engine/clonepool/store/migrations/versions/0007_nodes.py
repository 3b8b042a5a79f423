"""Nodes that share the database: who they are, and on which of them a version of an image lies."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0004"
branch_labels = None
depends_on = None

# where its replicas are, or where it was imported; "" is filled in by the node that has its storage
WHERE_IT_LIES = """
    UPDATE image_version SET node = coalesce(
        (SELECT min(node) FROM volume WHERE image_version_id = image_version.id),
        (SELECT min(node) FROM operation WHERE kind = 'import_image' AND key = image_version.id),
        '')
"""


def upgrade() -> None:
    op.create_table(
        "node",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("machine", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("listen", sa.String(), nullable=False),
        sa.Column("storages", sa.String(), nullable=False),
        sa.Column("hostless", sa.String(), nullable=False),
        sa.Column("fabrics", sa.String(), nullable=False),
        sa.Column("started_at", sa.Float(), nullable=False),
        sa.Column("heard_at", sa.Float(), nullable=False),
        sa.Column("lease_until", sa.Float(), nullable=False),
        sa.Column("draining", sa.Boolean(), nullable=False),
        sa.Column("silent", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.add_column(
        "image_version", sa.Column("node", sa.String(), nullable=False, server_default="")
    )
    op.execute(WHERE_IT_LIES)


def downgrade() -> None:
    op.drop_column("image_version", "node")
    op.drop_table("node")
