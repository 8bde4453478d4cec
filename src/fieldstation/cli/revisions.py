"""The schema revisions that this version of the station knows."""

from pathlib import Path


def known_revisions() -> list[str]:
    """Return every revision of the chain, oldest first."""
    from alembic.script import ScriptDirectory

    from fieldstation import migrations

    script = ScriptDirectory(str(Path(migrations.__file__).parent))
    return [step.revision for step in script.walk_revisions()][::-1]
