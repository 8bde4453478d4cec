"""Checks of a PostgreSQL server: does it keep what it has confirmed?"""

from collections.abc import Mapping, Sequence

from sqlalchemy import text
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from fieldstation.adapters.diagnosis.report import Check, failure, ok, warning
from fieldstation.adapters.diagnosis.schema import judge_revision
from fieldstation.db.engines import COMMAND_TIMEOUT_S, CONNECT_TIMEOUT_S

VERSION_MIN = 130_000
TIMESCALE = "timescaledb"
WATCHED = (
    "fsync",
    "full_page_writes",
    "server_version",
    "server_version_num",
    "synchronous_commit",
)


async def check_server(url: URL, target: str, revisions: Sequence[str]) -> list[Check]:
    """Look at the server as a connection of the station sees it."""
    try:
        settings, revision = await look(url, f"schema_version_{target}")
    except (OSError, SQLAlchemyError) as error:
        reason = str(getattr(error, "orig", None) or error).partition("\n")[0]
        return [
            failure(
                f"{target} database",
                f"{url.render_as_string(hide_password=True)} does not answer ({reason})",
                "Start it, or set DATABASE_URL and TELEMETRY_DATABASE_URL right.",
            )
        ]
    return [*judge_server(target, settings), judge_revision(target, revision, revisions)]


async def look(url: URL, version_table: str) -> tuple[dict[str, str], str | None]:
    engine = create_async_engine(
        url,
        poolclass=NullPool,
        connect_args={"timeout": CONNECT_TIMEOUT_S, "command_timeout": COMMAND_TIMEOUT_S},
    )
    try:
        async with engine.connect() as connection:
            rows = await connection.execute(
                text("SELECT name, setting FROM pg_settings WHERE name = ANY(:names)"),
                {"names": list(WATCHED)},
            )
            settings = {str(name): str(setting) for name, setting in rows}
            timescale = await connection.scalar(
                text("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'")
            )
            if timescale is not None:
                settings[TIMESCALE] = str(timescale)
            made = await connection.scalar(text("SELECT to_regclass(:t)"), {"t": version_table})
            if made is None:
                return settings, None
            # The name is one of our two.
            version = f"SELECT version_num FROM {version_table}"  # noqa: S608
            return settings, await connection.scalar(text(version))
    finally:
        await engine.dispose()


def judge_server(target: str, settings: Mapping[str, str]) -> list[Check]:
    name = f"{target} database"
    version = settings.get("server_version", "of an unknown version")
    if int(settings.get("server_version_num", VERSION_MIN)) < VERSION_MIN:
        server = warning(
            name, f"PostgreSQL {version} is no longer maintained", "Upgrade to 13 or newer."
        )
    else:
        server = ok(name, f"PostgreSQL {version} answers")
    return [server, judge_durability(target, settings), *extensions(target, settings)]


def extensions(target: str, settings: Mapping[str, str]) -> list[Check]:
    """Say that TimescaleDB is there; nothing depends on it."""
    if TIMESCALE not in settings:
        return []
    detail = f"TimescaleDB {settings[TIMESCALE]}: not used, and not tested beside the station"
    return [ok(f"{target} extension", detail)]


def judge_durability(target: str, settings: Mapping[str, str]) -> Check:
    name = f"{target} durability"
    watched = ("fsync", "full_page_writes", "synchronous_commit")
    off = [setting for setting in watched if settings.get(setting) == "off"]
    if off:
        return failure(
            name,
            f"Off: {', '.join(off)}; a crash may lose what was acknowledged",
            "Turn it on in postgresql.conf, and for the database and the user (ALTER … RESET).",
        )
    return ok(name, ", ".join(f"{setting}={settings.get(setting, '?')}" for setting in watched))
