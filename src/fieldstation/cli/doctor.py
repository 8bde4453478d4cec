"""``fieldstation doctor``: look at everything that a station depends on, and change nothing."""

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fieldstation.cli.options import DatabaseUrl, DataDir, settings_of
from fieldstation.core.settings import Settings, SettingsError

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

    from fieldstation.adapters.diagnosis.report import Check

DRIVERS = {"postgresql": "asyncpg", "mariadb": "asyncmy"}


def doctor(
    *,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    production: Annotated[
        bool, typer.Option("--production", help="Check also what strangers could misuse.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check computer, settings and databases, beside a running station as well; 1 on a failure.

    Example: fieldstation doctor --production
    """
    from fieldstation.adapters.diagnosis.report import has_failure

    checks = examine(data_dir, database_url, production=production)
    failed = has_failure(checks)
    if as_json:
        print(json.dumps({"healthy": not failed, "checks": [asdict(check) for check in checks]}))
    else:
        print(rendered(checks))
    raise typer.Exit(int(failed))


def rendered(checks: "list[Check]") -> str:
    width = max(len(check.name) for check in checks)
    lines: list[str] = []
    for check in checks:
        lines.append(f"{check.verdict:<8} {check.name:<{width}}  {check.detail}")
        if check.advice is not None:
            lines.append(f"{'':<8} {'':<{width}}  → {check.advice}")
    return "\n".join(lines)


def examine(data_dir: Path | None, database_url: str | None, *, production: bool) -> "list[Check]":
    from fieldstation.adapters.diagnosis.production import check_production
    from fieldstation.adapters.diagnosis.report import failure, ok
    from fieldstation.adapters.diagnosis.software import check_python, check_sqlite
    from fieldstation.db.engines import station_url, telemetry_url

    checks = [check_python(), check_sqlite()]
    try:
        settings = settings_of(data_dir=data_dir, database_url=database_url)
        urls = {"station": station_url(settings), "telemetry": telemetry_url(settings)}
    except SettingsError as error:
        advice = "Set it right in the environment; env.example names every setting."
        return [*checks, failure("settings", str(error), advice)]
    checks.append(ok("settings", "Readable"))
    checks += check_host(settings, urls)
    checks += check_databases(urls)
    checks += check_certificates(settings, urls["station"], checks)
    checks += check_contents(settings, urls, checks)
    if production:
        checks += check_production(settings)
    return checks


def check_host(settings: Settings, urls: "dict[str, URL]") -> "list[Check]":
    """Check what lies outside the databases."""
    from fieldstation.adapters.data_directory import DataDirectory
    from fieldstation.adapters.diagnosis import directory, ports, software
    from fieldstation.domains.identity.service.tokens import SECRET_FILE

    path = settings.station.data_dir
    station = ports.find_station(DataDirectory(path).control_socket)
    http, mqtt = settings.http, settings.mqtt
    wanted = [("http port", http.host, http.port, "PORT")]
    if mqtt.enabled:
        wanted.append(("mqtt port", mqtt.host, mqtt.port, "MQTT_LISTEN_PORT"))
        if mqtt.tls_port is not None:
            wanted.append(("mqtt tls port", mqtt.host, mqtt.tls_port, "MQTT_TLS_PORT"))
    return [
        *(
            software.check_driver(
                name, module, is_needed=any(is_on(name, url) for url in urls.values())
            )
            for name, module in DRIVERS.items()
        ),
        software.check_open_files(settings),
        directory.check_data_directory(path),
        directory.check_secret_file(path / SECRET_FILE),
        directory.check_free_space(path),
        ports.check_station(station),
        *(
            ports.check_port(name, host, port, setting=setting, station=station)
            for name, host, port, setting in wanted
        ),
    ]


def check_databases(urls: "dict[str, URL]") -> "list[Check]":
    from fieldstation.adapters.diagnosis import mariadb, postgresql, sqlite_files
    from fieldstation.migrations.revisions import REVISIONS

    checks: list[Check] = []
    for target, url in urls.items():
        if not is_on("sqlite", url):
            server = mariadb if is_on("mariadb", url) else postgresql
            checks += asyncio.run(server.check_server(url, target, REVISIONS))
            continue
        file = Path(url.database or "")
        if target == "station" and file.parent.is_dir():
            checks.append(sqlite_files.check_durability(file.parent))
        checks.append(sqlite_files.check_file(file))
        checks.append(sqlite_files.check_schema(file, target, REVISIONS))
    return checks


def check_certificates(settings: Settings, url: "URL", before: "list[Check]") -> "list[Check]":
    """Try to open the certificate authority if the station's database is sound so far."""
    from fieldstation.adapters.diagnosis.authority import check_authority

    if not is_sound("station", url, before):
        return []
    return [asyncio.run(check_authority(url, settings))]


def check_contents(
    settings: Settings, urls: "dict[str, URL]", before: "list[Check]"
) -> "list[Check]":
    """Look into the telemetry store if it is sound so far, and hold the clock against it."""
    from fieldstation.adapters.diagnosis import clock as clocks
    from fieldstation.adapters.diagnosis.readings import check_readings, look_into
    from fieldstation.core.clock import SystemClock
    from fieldstation.core.errors import Busy
    from fieldstation.domains.telemetry.store.selection import reading_store

    clock = SystemClock()
    checks: list[Check] = []
    newest_us: int | None = None
    if is_sound("telemetry", urls["telemetry"], before):
        store = reading_store(settings, node_id="doctor", clock=clock)
        found = asyncio.run(look_into(store))
        checks += check_readings(found)
        newest_us = None if isinstance(found, Busy) else found.totals.newest_us
    return [
        *checks,
        clocks.check_clock(
            clock.now(),
            newest_reading_us=newest_us,
            newest_file_at=clocks.newest_file_time(settings.station.data_dir),
        ),
        clocks.check_synchronisation(clocks.kernel_clock_state()),
    ]


def is_sound(target: str, url: "URL", before: "list[Check]") -> bool:
    """Tell whether a database is there and no check of it found anything."""
    from fieldstation.adapters.diagnosis.report import Verdict

    sound = all(check.verdict is Verdict.OK for check in before if check.name.startswith(target))
    return sound and (not is_on("sqlite", url) or Path(url.database or "").exists())


def is_on(name: str, url: "URL") -> bool:
    return url.get_backend_name() == name
