"""Runs a station until it is told to stop: ports first, then the runtime, then HTTP; drained in
reverse."""

import asyncio
import gc
import signal
import socket
import ssl
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog
import uvicorn
from starlette.types import ASGIApp

from fieldstation.adapters.control import ControlServer
from fieldstation.core.settings import (
    HttpSettings,
    LiveSettings,
    Settings,
    SettingsError,
)
from fieldstation.db.engines import station_url, telemetry_url
from fieldstation.main import create_app
from fieldstation.migrations.upgrade import upgrade
from fieldstation.operations import station_operations
from fieldstation.runtime import Runtime
from fieldstation.web.http_protocol import HttpProtocol
from fieldstation.web.websocket_line import WebSocketProtocol

log = structlog.get_logger(__name__)

GARBAGE_THRESHOLDS = (20_000, 10, 10)
"""Requests leave hardly any cycles; Python's 700 collects thousands of times a second under load.
"""
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class Ready:
    """Where a station that has just started is reached."""

    runtime: Runtime
    url: str
    mqtt_port: int | None


class HttpServer(uvicorn.Server):
    """Uvicorn that leaves the signals to the station, which has more to drain than HTTP."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.answers = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.answers.set()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


async def serve(settings: Settings, on_ready: Callable[[Ready], Awaitable[None]]) -> None:
    """Serve until SIGINT or SIGTERM, then drain and return.

    Raises ``SettingsError`` (a port or directory in use, a setting that cannot be used) and
    ``Busy`` (database away).
    """
    check_certificate(settings.http)
    runtime = Runtime(settings)
    runtime.directory.lock()
    listener = bind(settings.http)
    try:
        await upgrade(station_url(settings), "station")
        await upgrade(telemetry_url(settings), "telemetry")
        async with runtime.running():
            await serve_http(runtime, listener, on_ready)
    finally:
        listener.close()
        runtime.directory.unlock()


async def serve_http(
    runtime: Runtime, listener: socket.socket, on_ready: Callable[[Ready], Awaitable[None]]
) -> None:
    settings = runtime.settings
    server = HttpServer(configuration(create_app(runtime), settings.http, settings.live))
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stopping.set)
    control = ControlServer(runtime.directory.control_socket, station_operations(runtime))
    async with asyncio.TaskGroup() as tasks, control.listening():
        serving = tasks.create_task(server.serve(sockets=[listener]), name="http")
        ready = tasks.create_task(announce(server, runtime, listener, on_ready), name="ready")
        await stopping.wait()
        log.info("stopping")
        ready.cancel()
        server.should_exit = True
        await asyncio.gather(serving, runtime.drain())


async def announce(
    server: HttpServer,
    runtime: Runtime,
    listener: socket.socket,
    on_ready: Callable[[Ready], Awaitable[None]],
) -> None:
    await server.answers.wait()
    gc.freeze()  # what was built lives as long as the process: no collection need look at it
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    gc.enable()
    scheme = "https" if runtime.settings.http.tls_cert_file else "http"
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    mqtt_port = None if runtime.mqtt is None else runtime.mqtt.port
    await on_ready(Ready(runtime, f"{scheme}://{shown}:{port}", mqtt_port))


def bind(settings: HttpSettings) -> socket.socket:
    """Take the HTTP port before anything else is started. Raises ``SettingsError``."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as error:
        raise SettingsError(
            f"PORT: cannot listen on {settings.host}:{settings.port} ({error.strerror}); "
            "choose another with --port"
        ) from error


def check_certificate(settings: HttpSettings) -> None:
    """Try the HTTPS certificate before anything is started. Raises ``SettingsError``."""
    if settings.tls_cert_file is None and settings.tls_key_file is None:
        return
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        raise SettingsError("TLS_CERT_FILE and TLS_KEY_FILE go together; set both or neither")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"TLS_CERT_FILE or TLS_KEY_FILE cannot be used: {error}") from error


def configuration(app: ASGIApp, http: HttpSettings, live: LiveSettings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=HttpProtocol,
        ws=WebSocketProtocol,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws_ping_interval=live.ping_interval_s,
        ws_ping_timeout=live.ping_interval_s,
        ws_per_message_deflate=False,
        ws_max_size=1 << 20,
        timeout_graceful_shutdown=http.drain_timeout_s,
        limit_concurrency=http.connections_max,
        ssl_certfile=http.tls_cert_file,
        ssl_keyfile=http.tls_key_file,
    )
