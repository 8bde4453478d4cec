"""``fieldstation serve``: run a station."""

import gc
from typing import TYPE_CHECKING

from fieldstation.cli.options import (
    DatabaseUrl,
    DataDir,
    Host,
    MqttPort,
    Port,
    RedisUrl,
    settings_of,
)

if TYPE_CHECKING:
    from fieldstation.serving import Ready


def serve(
    *,
    host: Host = None,
    port: Port = None,
    mqtt_port: MqttPort = None,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    redis_url: RedisUrl = None,
) -> None:
    """Run a station until Ctrl-C or SIGTERM; both drain what was taken.

    Example: fieldstation serve --port 8080 --data-dir /var/lib/fieldstation
    """
    gc.disable()  # what is imported stays: no collection need look at it; serving turns it on
    from fieldstation.cli.station import run_station

    run_station(
        settings_of(
            host=host,
            port=port,
            mqtt_port=mqtt_port,
            data_dir=data_dir,
            database_url=database_url,
            redis_url=redis_url,
        ),
        say_ready,
    )


async def say_ready(ready: "Ready") -> None:
    """Print where the station is reached."""
    print(ready_line(ready), flush=True)


def ready_line(ready: "Ready") -> str:
    mqtt = "off" if ready.mqtt_port is None else str(ready.mqtt_port)
    return f"Fieldstation ready: {ready.url} (MQTT port {mqtt})"
