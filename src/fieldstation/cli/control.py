"""Has an operation done: by the running station, or in this process when none runs."""

import asyncio
from collections.abc import Mapping
from typing import Any

from fieldstation.adapters.control import ask_station
from fieldstation.adapters.data_directory import DataDirectory
from fieldstation.core.logging import configure_logging
from fieldstation.core.settings import Settings
from fieldstation.migrations.upgrade import upgrade
from fieldstation.operations import station_operations
from fieldstation.runtime import Runtime, station_url, telemetry_url


def perform_operation(settings: Settings, operation: str, arguments: Mapping[str, Any]) -> Any:
    """Return the operation's result. Raises ``StationError`` and ``SettingsError``."""
    configure_logging(level="WARNING", renderer=settings.log.format)
    return asyncio.run(perform(settings, operation, arguments))


async def perform(settings: Settings, operation: str, arguments: Mapping[str, Any]) -> Any:
    directory = DataDirectory(settings.station.data_dir)
    try:
        return await ask_station(directory.control_socket, operation, arguments)
    except (FileNotFoundError, ConnectionRefusedError):
        pass
    runtime = Runtime(settings)
    runtime.directory.lock()
    try:
        await upgrade(station_url(settings), "station")
        await upgrade(telemetry_url(settings), "telemetry")
        return await station_operations(runtime)[operation](**arguments)
    finally:
        await runtime.database.close()
        runtime.directory.unlock()
