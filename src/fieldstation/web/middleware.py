"""The ASGI middleware of the station, outermost first: correlation → timing and access log → body
limit → crashes."""

from collections.abc import Callable
from time import perf_counter
from typing import NamedTuple

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fieldstation.core.correlation import choose_correlation_id, fresh_id, ids
from fieldstation.core.errors import TooLarge
from fieldstation.core.limits import BODY_BYTES_MAX
from fieldstation.web.problems import render_crash, render_error

log = structlog.get_logger("fieldstation.access")


class Observed(NamedTuple):
    """One answered request; ``route`` is the template, never the raw path."""

    method: str
    route: str
    status: int
    elapsed_s: float


class Correlation:
    """Give each request its ids: in the answer's headers and in every log line."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        correlation_id = choose_correlation_id(header(scope, b"x-correlation-id"))
        request_id = fresh_id()
        token = ids.set((correlation_id, request_id))
        extra = [
            (b"x-correlation-id", correlation_id.encode()),
            (b"x-request-id", request_id.encode()),
        ]

        async def send_with_ids(message: Message) -> None:
            if message["type"] in {"http.response.start", "websocket.accept"}:
                message["headers"] = [*message.get("headers", ()), *extra]
            await send(message)

        try:
            await self.app(scope, receive, send_with_ids)
        finally:
            ids.reset(token)


class Timing:
    """Say how long a request took: in a header, in the access log and to ``observe``."""

    def __init__(
        self, app: ASGIApp, *, observe: Callable[[Observed], None], slow_request_ms: float
    ) -> None:
        self.app = app
        self.observe = observe
        self.slow_request_ms = slow_request_ms

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = perf_counter()
        status = 500

        async def send_with_time(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                elapsed_ms = (perf_counter() - started) * 1000
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-process-time", b"%.2fms" % elapsed_ms),
                ]
            await send(message)

        try:
            await self.app(scope, receive, send_with_time)
        finally:
            self.report(scope, status, perf_counter() - started)

    def report(self, scope: Scope, status: int, elapsed_s: float) -> None:
        method, elapsed_ms = scope["method"], elapsed_s * 1000
        self.observe(Observed(method, route_template(scope), status, elapsed_s))
        if elapsed_ms >= self.slow_request_ms:
            write = log.warning
        else:
            write = log.debug if status < 400 else log.info
        write(
            "request",
            method=method,
            path=scope["path"],
            status=status,
            elapsed_ms=round(elapsed_ms, 2),
        )


class BodyLimit:
    """Refuse bodies over the limit, announced or not, before anybody keeps them."""

    def __init__(self, app: ASGIApp, *, body_bytes_max: int = BODY_BYTES_MAX) -> None:
        self.app = app
        self.body_bytes_max = body_bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        announced = header(scope, b"content-length")
        if announced is not None and announced.isdigit() and int(announced) > self.body_bytes_max:
            await render_error(self.refusal(), scope["path"])(scope, receive, send)
            return
        received = 0

        async def receive_bounded() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > self.body_bytes_max:
                    raise self.refusal()
            return message

        await self.app(scope, receive_bounded, send)

    def refusal(self) -> TooLarge:
        return TooLarge(
            f"The body is larger than {self.body_bytes_max // (1024 * 1024)} MiB; send it in parts."
        )


class Crashes:
    """Turn a defect into a problem response and a log entry; nothing of it reaches the client."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def send_noting_start(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, send_noting_start)
        except Exception:
            log.exception("request_crashed", method=scope["method"], path=scope["path"])
            if not started:
                await render_crash(scope["path"])(scope, receive, send)


def header(scope: Scope, name: bytes) -> bytes | None:
    """Return the first value of a header, given in lower case."""
    for key, value in scope["headers"]:
        if key == name:
            return value
    return None


def route_template(scope: Scope) -> str:
    """Return the whole template: what comes before the router's own part has no parameters."""
    template: str | None = getattr(scope.get("route"), "path", None)
    if template is None:
        return "unmatched"
    prefix = scope["path"].rsplit("/", template.count("/"))[0]
    return f"{prefix}{template}"
