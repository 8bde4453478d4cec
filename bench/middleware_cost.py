"""The CPU time of one request through the station's front door and without it; its own process."""

import asyncio
import time
from collections.abc import Mapping

import msgspec
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bench.processes import be_task
from fieldstation.core.clock import SystemClock
from fieldstation.core.logging import configure_logging
from fieldstation.core.settings import LimitSettings, read_settings
from fieldstation.web.middleware import FrontDoor, Observed, door_rules
from fieldstation.web.rate_counters import RateCounters
from fieldstation.web.rate_limits import Known, RateGate, Recognise, RouteLimits

ENVIRONMENT = {
    "RATE_LIMIT_FACTOR": "1000000",
    "CORS_ORIGINS": "https://console.example.org",
    "ALLOWED_HOSTS": "field.example.org",
    "TRUSTED_PROXIES": "127.0.0.0/8",
    "ENVIRONMENT": "production",
    "SECRET_KEY": "only of this benchmark, which signs nothing",
}
CLIENTS = 1_000
PATH = "/api/v1/devices/0198c0de-7a3b-7c11-9b51-3f5a6f2f6a02/readings"


class MiddlewareSpec(msgspec.Struct, frozen=True):
    requests: int
    behind_door: bool


class MiddlewareResult(msgspec.Struct, frozen=True):
    cpu_ms: float
    requests: int


async def route(scope: Scope, receive: Receive, send: Send) -> None:
    """Do as little as a route can."""
    await Response(b"{}", status_code=201, media_type="application/json")(scope, receive, send)


def observe(_request: Observed) -> None:
    """Count nothing: the metrics have their own cost, whatever stands in front."""


def front_door() -> ASGIApp:
    """Return the station's own, every feature on; tokens are known from memory, as in service."""
    settings = read_settings(ENVIRONMENT)
    configure_logging(level="WARNING", renderer="json")
    return FrontDoor(
        route,
        door_rules(settings),
        observe=observe,
        gate=gate(settings.limits),
    )


def gate(settings: LimitSettings) -> RateGate:
    known = {f"fsd_{number:043}": Known("device", str(number)) for number in range(CLIENTS)}

    def offered(headers: Mapping[bytes, bytes]) -> str | None:
        value = headers.get(b"authorization")
        return None if value is None else value[7:].decode()

    async def look_up(_token: str) -> Known | None:
        return None

    counters = RateCounters(SystemClock().now_us, keys_max=settings.keys_max)
    recognise = Recognise(offered, known.get, look_up)
    return RateGate(counters, settings, routes=RouteLimits([]), recognise=recognise)


def make_scope(number: int) -> Scope:
    token = f"Bearer fsd_{number % CLIENTS:043}".encode()
    return {
        "type": "http",
        "method": "POST",
        "scheme": "https",
        "path": PATH,
        "raw_path": PATH.encode(),
        "query_string": b"",
        "client": ("127.0.0.1", 50_000),
        "headers": [
            (b"host", b"field.example.org"),
            (b"authorization", token),
            (b"content-type", b"application/json"),
            (b"content-length", b"80"),
            (b"x-forwarded-for", b"203.0.113.%d" % (number % 250)),
            (b"x-forwarded-proto", b"https"),
        ],
    }


async def receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(_message: Message) -> None:
    """Take what would go to the server."""


async def measure(spec: MiddlewareSpec) -> MiddlewareResult:
    app = front_door() if spec.behind_door else route
    for number in range(CLIENTS):
        await app(make_scope(number), receive, send)
    scopes = [make_scope(number) for number in range(spec.requests)]
    started = time.process_time()
    for scope in scopes:
        await app(scope, receive, send)
    cpu_s = time.process_time() - started
    return MiddlewareResult(cpu_ms=cpu_s * 1000 / spec.requests, requests=spec.requests)


if __name__ == "__main__":
    be_task(lambda spec: asyncio.run(measure(spec)), MiddlewareSpec)
