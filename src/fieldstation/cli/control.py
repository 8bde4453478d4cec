"""Has an operation done: by the running station, or in this process when none runs."""

import asyncio
from collections.abc import Mapping
from typing import Any

from fieldstation.adapters.control import ask_station
from fieldstation.adapters.data_directory import DataDirectory
from fieldstation.core.logging import configure_logging
from fieldstation.core.settings import Settings


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
    return await perform_here(settings, operation, arguments)


async def perform_here(settings: Settings, operation: str, arguments: Mapping[str, Any]) -> Any:
    """Do it with a station that takes nothing in; it is loaded only now, for it is most of one."""
    from fieldstation.db.engines import station_url, telemetry_url
    from fieldstation.migrations.upgrade import upgrade
    from fieldstation.operations import station_operations
    from fieldstation.runtime import Runtime

    runtime = Runtime(settings)
    runtime.directory.lock()
    try:
        await upgrade(station_url(settings), "station")
        await upgrade(telemetry_url(settings), "telemetry")
        return await station_operations(runtime)[operation](**arguments)
    finally:
        await runtime.database.close()
        runtime.directory.unlock()
