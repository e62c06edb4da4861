"""Relays: their addresses, and longer guest names, which begin with the names of relays."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column for the address, and widen the one for guest names."""
    with op.batch_alter_table("participants") as table:
        table.add_column(sa.Column("address", sa.String(300), nullable=False, server_default=""))
        table.alter_column("guest", type_=sa.String(200), existing_nullable=False)


def downgrade() -> None:
    """Revert both changes."""
    with op.batch_alter_table("participants") as table:
        table.alter_column("guest", type_=sa.String(60), existing_nullable=False)
        table.drop_column("address")
