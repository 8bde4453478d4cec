"""Checks of a MariaDB server: does it keep what it has confirmed?"""

from collections.abc import Mapping, Sequence

from sqlalchemy import inspect, text
from sqlalchemy.engine import URL, Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from fieldstation.adapters.diagnosis.report import Check, failure, ok, warning
from fieldstation.adapters.diagnosis.schema import judge_revision
from fieldstation.core.errors import Conflict
from fieldstation.db.engines import server_engine
from fieldstation.db.mariadb_upgrades import refuse_interrupted

PACKET_BYTES_MIN = 16 * 1024 * 1024
WATCHED = (
    "innodb_doublewrite",
    "innodb_flush_log_at_trx_commit",
    "log_bin",
    "max_allowed_packet",
    "sync_binlog",
    "version",
)


async def check_server(url: URL, target: str, revisions: Sequence[str]) -> list[Check]:
    """Look at the server as a connection of the station sees it."""
    try:
        settings, revision, interrupted = await look(url, target)
    except Conflict as error:
        return [failure(f"{target} database", error.detail, "Use MariaDB, or PostgreSQL.")]
    except (OSError, SQLAlchemyError) as error:
        found = getattr(error, "orig", None) or error
        reason = str(found.args[-1] if found.args else found).partition("\n")[0]
        return [
            failure(
                f"{target} database",
                f"{url.render_as_string(hide_password=True)} cannot be used ({reason})",
                "Start it, or set DATABASE_URL and TELEMETRY_DATABASE_URL right.",
            )
        ]
    if interrupted is not None:
        return [
            *judge_server(target, settings),
            failure(f"{target} schema", "Half of an upgrade", interrupted),
        ]
    return [*judge_server(target, settings), judge_revision(target, revision, revisions)]


async def look(url: URL, target: str) -> tuple[dict[str, str], str | None, str | None]:
    engine = server_engine(url, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            rows = await connection.execute(text("SHOW GLOBAL VARIABLES"))
            settings = {str(name): str(value) for name, value in rows if name in WATCHED}
            return settings, *await connection.run_sync(look_at_schema, target)
    finally:
        await engine.dispose()


def look_at_schema(connection: Connection, target: str) -> tuple[str | None, str | None]:
    """Return the revision that is noted, and what to do about an upgrade that was cut off."""
    try:
        refuse_interrupted(connection, target)
    except Conflict as error:
        return None, error.detail
    if not inspect(connection).has_table(f"schema_version_{target}"):
        return None, None
    # The name is one of our two.
    return connection.scalar(text(f"SELECT version_num FROM schema_version_{target}")), None  # noqa: S608


def judge_server(target: str, settings: Mapping[str, str]) -> list[Check]:
    name = f"{target} database"
    packet_bytes = int(settings.get("max_allowed_packet", PACKET_BYTES_MIN))
    if packet_bytes < PACKET_BYTES_MIN:
        server = warning(
            name,
            f"max_allowed_packet is {packet_bytes} bytes; larger batches are refused",
            f"Set it to {PACKET_BYTES_MIN} or more.",
        )
    else:
        server = ok(name, f"MariaDB {settings.get('version', '?')} answers")
    return [server, judge_durability(target, settings)]


def judge_durability(target: str, settings: Mapping[str, str]) -> Check:
    """Fail for whatever lets a crash take back a commit; with a binary log that one decides."""
    name = f"{target} durability"
    wanted = {"innodb_flush_log_at_trx_commit": "1", "innodb_doublewrite": "ON"}
    if settings.get("log_bin") == "ON":
        wanted["sync_binlog"] = "1"
    wrong = [
        f"{setting}={settings[setting]}"
        for setting, value in wanted.items()
        if settings.get(setting, value) != value
    ]
    if wrong:
        return failure(
            name,
            f"{', '.join(wrong)}; a crash may lose what was acknowledged",
            f"Set {', '.join(f'{setting}={wanted[setting]}' for setting in wanted)} in my.cnf.",
        )
    return ok(name, ", ".join(f"{setting}={settings.get(setting, '?')}" for setting in wanted))
