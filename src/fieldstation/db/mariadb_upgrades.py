"""What only MariaDB needs for an upgrade: it commits each change of a table at once.

So an upgrade that was cut off cannot be undone. A table that stands only meanwhile tells of it.
"""

from collections.abc import Generator
from contextlib import contextmanager

from sqlalchemy import Connection, inspect, text

from fieldstation.core.errors import Busy, Conflict

LOCK_WAIT_S = 600
MARK = "schema_upgrade_{}"


def wait_for_other_nodes(connection: Connection) -> None:
    """Let nodes that start together upgrade one after the other; the lock ends with the session."""
    name = f"fieldstation.upgrade.{connection.engine.url.database}"[:64]
    taken = text("SELECT GET_LOCK(:name, :wait_s)").bindparams(name=name, wait_s=LOCK_WAIT_S)
    if connection.scalar(taken) != 1:
        raise Busy("Another node upgrades the database; try again when it is done.")


def refuse_interrupted(connection: Connection, target: str) -> None:
    """Raise ``Conflict`` where an upgrade began and did not end."""
    if inspect(connection).has_table(MARK.format(target)):
        raise Conflict(
            f"An upgrade of the {target} database was cut off, and MariaDB cannot undo the half of "
            "it. Drop the database, create it again, restore the backup from before the upgrade "
            "into it if it held anything, then start again."
        )


@contextmanager
def marked(connection: Connection, target: str) -> Generator[None, None, None]:
    """Leave a mark behind if the block does not reach its end."""
    mark = MARK.format(target)
    connection.execute(text(f"CREATE TABLE {mark} (began_at DATETIME DEFAULT UTC_TIMESTAMP)"))
    yield
    connection.commit()
    connection.execute(text(f"DROP TABLE {mark}"))
