"""The one ASGI layer in front of the routes: ids, time, access log, headers, hosts, CORS, limits,
bodies, crashes, in this order."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple, Protocol

import structlog
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fieldstation.core.correlation import choose_correlation_id, fresh_id, ids
from fieldstation.core.errors import StationError
from fieldstation.core.limits import BODY_BYTES_MAX
from fieldstation.core.settings import Settings
from fieldstation.core.tracing import parse_traceparent, trace
from fieldstation.web.aliases import ALIASES
from fieldstation.web.bodies import too_large
from fieldstation.web.cross_origin import CrossOrigin
from fieldstation.web.hosts import Hosts
from fieldstation.web.problems import render_crash, render_error
from fieldstation.web.proxies import TrustedProxies
from fieldstation.web.rate_limits import RateLimited, limit_headers
from fieldstation.web.security_headers import Headers, SecurityHeaders
from fieldstation.web.spans import Span, Spans

log = structlog.get_logger("fieldstation.access")

LENGTH_DIGITS_MAX = 18
SERVED = frozenset({"http", "websocket"})
REFUSED = "fieldstation.refused"
"""Where the server puts into the scope why it refuses a request by itself."""
UNREADABLE = "fieldstation.unreadable"
"""Where it puts into the scope's state what is wrong with a body: found when that is read."""
NO_ANSWER = 499
"""How a request counts whose client left before there was an answer (as nginx has it)."""
STARTS = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})


class Observed(NamedTuple):
    """One answered request; ``route`` is the template, never the raw path."""

    method: str
    route: str
    status: int
    elapsed_s: float


class Gate(Protocol):
    """Counts a request before it is served."""

    async def admit(self, scope: Scope, headers: Mapping[bytes, bytes]) -> Headers:
        """Return the headers that the answer carries about it. Raises ``TooManyRequests``."""
        ...


@dataclass(frozen=True, slots=True)
class DoorRules:
    """What the front door holds every request to."""

    proxies: TrustedProxies
    hosts: Hosts
    cross_origin: CrossOrigin
    security: SecurityHeaders
    slow_request_ms: float
    body_bytes_max: int = BODY_BYTES_MAX
    correlation: bool = True
    timing: bool = True


def door_rules(settings: Settings) -> DoorRules:
    """Return the rules that the settings ask for."""
    http, browser = settings.http, settings.browser
    return DoorRules(
        proxies=TrustedProxies(http.trusted_proxies),
        hosts=Hosts(http, settings.station.public_url),
        cross_origin=CrossOrigin(browser, http.allowed_origins),
        security=SecurityHeaders(browser, production=settings.station.environment == "production"),
        slow_request_ms=settings.log.slow_request_ms,
        correlation=settings.tracing.correlation,
        timing=settings.tracing.timing,
    )


class FrontDoor:
    """Receives every request and finishes every answer, refusals and defects included."""

    def __init__(
        self,
        app: ASGIApp,
        rules: DoorRules,
        *,
        observe: Callable[[Observed], None],
        gate: Gate | None = None,
        spans: Spans | None = None,
    ) -> None:
        self.app = app
        self.rules = rules
        self.observe = observe
        self.gate = gate
        self.spans = spans

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind not in SERVED:
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"][::-1])  # of a repeated header the first counts
        offered = headers.get(b"x-correlation-id") if self.rules.correlation else None
        named = (choose_correlation_id(offered), fresh_id())
        token = ids.set(named)
        answer = Answer(self.rules, headers, named, send)
        span = self.follow(headers.get(b"traceparent"), answer)
        inner = inner_scope(scope, self.rules)
        try:
            await self.serve(inner, headers, receive, answer)
        except StationError as error:
            if isinstance(error, RateLimited):
                answer.limits = limit_headers(error.verdict)
            await answer.refuse(render_error(error, scope["path"]), inner, receive)
        except Exception:
            if kind != "http":
                answer.status = 500
                raise
            log.exception("request_crashed", method=scope["method"], path=scope["path"])
            await answer.refuse(render_crash(scope["path"]), inner, receive)
        finally:
            self.report(scope, inner, answer, span)
            ids.reset(token)

    def follow(self, traceparent: bytes | None, answer: "Answer") -> Span | None:
        """Continue the caller's trace: in log lines, in the answer, and in a span if they go
        anywhere."""
        parent = None if traceparent is None else parse_traceparent(traceparent)
        span = None
        if self.spans is not None:
            span = self.spans.begin(parent)
            running = span.trace
        elif parent is not None:
            running = parent.child()
        else:
            return None
        trace.set(running)
        answer.trace = [(b"traceparent", running.header.encode())]
        return span

    async def serve(
        self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive, answer: "Answer"
    ) -> None:
        """Let a request through everything that may refuse it. Raises ``StationError``."""
        rules = self.rules
        if REFUSED in scope:
            raise scope[REFUSED]
        rules.hosts.check(headers.get(b"host"))
        response = rules.hosts.secured(scope, headers)
        if response is None and scope["type"] == "http":
            response = rules.cross_origin.preflight(scope["method"], headers)
        if response is not None:
            await answer.refuse(response, scope, receive)
            return
        if self.gate is not None:
            answer.limits = await self.gate.admit(scope, headers)
        announced = headers.get(b"content-length")
        if announced is not None:
            check_announced(announced, rules.body_bytes_max)
        elif b"transfer-encoding" in headers:
            receive = bounded(receive, scope.get("state", {}), rules.body_bytes_max)
        await self.app(scope, receive, answer.send)

    def report(self, scope: Scope, inner: Scope, answer: "Answer", span: Span | None) -> None:
        """Tell the span, the metrics and the access log what came of it."""
        elapsed_s = perf_counter() - answer.began
        route, status = route_template(inner), answer.status
        method = scope.get("method", "WEBSOCKET")
        if span is not None:
            span.end(method=method, route=route, status=status, correlation_id=answer.named[0])
        if scope["type"] == "http":
            self.observe(Observed(method, route, status, elapsed_s))
            self.write_access(method, scope["path"], status, elapsed_s * 1000)
        if answer.trace:
            trace.set(None)

    def write_access(self, method: str, path: str, status: int, elapsed_ms: float) -> None:
        if elapsed_ms >= self.rules.slow_request_ms:
            write = log.warning
        else:
            write = log.debug if status < 400 else log.info
        write(
            "request",
            method=method,
            path=path,
            status=status,
            elapsed_ms=round(elapsed_ms, 2),
        )


class Answer:
    """Sends what the routes answer, with the headers that every answer carries."""

    __slots__ = (
        "began",
        "headers",
        "limits",
        "named",
        "rules",
        "send_on",
        "started",
        "status",
        "trace",
    )

    def __init__(
        self,
        rules: DoorRules,
        headers: Mapping[bytes, bytes],
        named: tuple[str, str],
        send: Send,
    ) -> None:
        self.began = perf_counter()
        self.rules = rules
        self.headers = headers
        self.named = named
        self.send_on = send
        self.limits: Headers = []
        self.trace: Headers = []
        self.started = False
        self.status = NO_ANSWER

    async def send(self, message: Message) -> None:
        if message["type"] in STARTS:
            self.started = True
            self.status = message.get("status", 101)
            own = message.get("headers", ())
            rules, (correlation_id, request_id) = self.rules, self.named
            followed: Headers = [(b"x-request-id", request_id.encode())]
            if rules.correlation:
                followed.append((b"x-correlation-id", correlation_id.encode()))
            if rules.timing:
                elapsed_ms = (perf_counter() - self.began) * 1000
                followed.append((b"x-process-time", b"%.2fms" % elapsed_ms))
            message["headers"] = [
                *own,
                *followed,
                *rules.security.fixed,
                *rules.security.policy_for(own),
                *rules.cross_origin.headers_for(self.headers.get(b"origin")),
                *self.limits,
                *self.trace,
            ]
        await self.send_on(message)

    async def refuse(self, response: Response, scope: Scope, receive: Receive) -> None:
        """Answer instead of the routes; a socket is refused before it is accepted."""
        if self.started:
            return
        if scope["type"] == "websocket" and "websocket.http.response" not in scope.get(
            "extensions", {}
        ):
            await self.send_on({"type": "websocket.close", "code": 1008})
            return
        await response(scope, receive, self.send)


def inner_scope(scope: Scope, rules: DoorRules) -> Scope:
    """Return the scope that the routes see: the client behind proxies, HEAD as GET, no alias.

    The server sends no body for the HEAD that it got.
    """
    inner = dict(scope)
    rules.proxies.unwrap(inner)
    canonical = ALIASES.get(inner["path"])
    if canonical is not None:
        inner["path"], inner["raw_path"] = canonical, canonical.encode()
    if inner.get("method") == "HEAD":
        inner["method"] = "GET"
    return inner


def check_announced(length: bytes, body_bytes_max: int) -> None:
    if len(length) > LENGTH_DIGITS_MAX or (length.isdigit() and int(length) > body_bytes_max):
        raise too_large(body_bytes_max)


def bounded(receive: Receive, state: Mapping[str, Any], body_bytes_max: int) -> Receive:
    """Count a body whose length nobody announced.

    Raises ``TooLarge`` while it is read, and ``Malformed`` where its parts are not marked off as
    HTTP has it.
    """
    received = 0

    async def receive_bounded() -> Message:
        nonlocal received
        message = await receive()
        if UNREADABLE in state:
            raise state[UNREADABLE]
        if message["type"] == "http.request":
            received += len(message.get("body", b""))
            if received > body_bytes_max:
                raise too_large(body_bytes_max)
        return message

    return receive_bounded


def route_template(scope: Scope) -> str:
    """Return the path as the route declares it, whatever stands for its parameters."""
    return getattr(scope.get("route"), "path_format", "unmatched")
