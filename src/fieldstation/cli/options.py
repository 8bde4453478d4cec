"""The options that several commands share, and how they become settings."""

import os
from pathlib import Path
from typing import Annotated

import typer

from fieldstation.core.settings import Settings, read_settings

Host = Annotated[str | None, typer.Option(help="Address of HTTP and MQTT.  [API_HOST, 127.0.0.1]")]
Port = Annotated[
    int | None, typer.Option(min=0, max=65535, help="HTTP port, 0 for any.  [PORT, 8000]")
]
MqttPort = Annotated[
    int | None,
    typer.Option(min=0, max=65535, help="MQTT port, 0 for any.  [MQTT_LISTEN_PORT, 1883]"),
]
DataDir = Annotated[
    Path | None, typer.Option(help="Where everything is kept.  [DATA_DIR, .fieldstation]")
]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(help="sqlite:///…, postgresql://… or mysql+pymysql://…  [DATABASE_URL, a file]"),
]
RedisUrl = Annotated[
    str | None,
    typer.Option(help="redis://host:6379, for several nodes.  [REDIS_URL, none]"),
]


def settings_of(
    *,
    host: str | None = None,
    port: int | None = None,
    mqtt_port: int | None = None,
    data_dir: Path | None = None,
    database_url: str | None = None,
    redis_url: str | None = None,
) -> Settings:
    """Read the settings from the environment, with what the options say on top.

    Raises ``SettingsError``.
    """
    chosen: dict[str, object] = {
        "API_HOST": host,
        "MQTT_LISTEN_HOST": host,
        "PORT": port,
        "MQTT_LISTEN_PORT": mqtt_port,
        "DATA_DIR": data_dir,
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
    }
    given = {name: str(value) for name, value in chosen.items() if value is not None}
    return read_settings({**os.environ, **given})
