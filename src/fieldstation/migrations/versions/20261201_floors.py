"""From which hour on the readings of a series are kept."""

import sqlalchemy as sa
from alembic import op

from fieldstation.migrations.target import target

revision = "20261201_floors"
down_revision = "20261130_rollups"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if target() == "telemetry":
        op.add_column(
            "series", sa.Column("raw_from_hour", sa.Integer(), nullable=False, server_default="0")
        )


def downgrade() -> None:
    """Refused once readings were deleted: the version before would compute rollups from nothing."""
    if target() != "telemetry":
        return
    if op.get_bind().scalar(sa.text("SELECT COUNT(*) FROM series WHERE raw_from_hour > 0")):
        raise RuntimeError(
            "Readings were deleted and only their rollups are left, which the version before would "
            "compute anew; restore the backup from before the upgrade, or stay."
        )
    op.drop_column("series", "raw_from_hour")
