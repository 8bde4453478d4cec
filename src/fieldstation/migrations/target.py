"""Which database a migration is running on."""

from alembic import context


def target() -> str:
    """Return ``station`` or ``telemetry``."""
    return str(context.config.attributes["target"])
