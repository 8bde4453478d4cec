"""Hours whose readings were sealed before there were rollups are rolled up as well.

The revision before marked only hours with ordinary chunks: of sealed ones, buckets and statistics
told nothing. All are marked, since nothing says which lack their rollups.
"""

import sqlalchemy as sa
from alembic import op

from fieldstation.migrations.target import target

revision = "20261201_rollups_of_sealed"
down_revision = "20261201_packed_columns"
branch_labels = None
depends_on = None

US_PER_HOUR = 3_600_000_000
STALE = sa.table(
    "rollup_stale", sa.column("series_id", sa.BigInteger()), sa.column("hour", sa.Integer())
)
SEALED = sa.table("sealed", *map(sa.column, ("series_id", "start_us", "end_us")))


def upgrade() -> None:
    if target() != "telemetry":
        return
    connection = op.get_bind()
    for series_id in connection.scalars(sa.select(SEALED.c.series_id).distinct()).all():
        mark(connection, series_id)


def mark(connection: sa.Connection, series_id: int) -> None:
    own = SEALED.c.series_id == series_id
    spans = connection.execute(sa.select(SEALED.c.start_us, SEALED.c.end_us).where(own))
    hours = {
        hour
        for start_us, end_us in spans
        for hour in range(start_us // US_PER_HOUR, end_us // US_PER_HOUR + 1)
    }
    known = sa.select(STALE.c.hour).where(STALE.c.series_id == series_id)
    missing = sorted(hours.difference(connection.scalars(known)))
    if missing:
        rows = [{"series_id": series_id, "hour": hour} for hour in missing]
        connection.execute(sa.insert(STALE), rows)


def downgrade() -> None:
    """What is marked too much is rolled up once more."""
