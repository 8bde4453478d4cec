"""Uvicorn's HTTP protocol, but what it refuses by itself is answered by the front door."""

import asyncio
from typing import cast
from urllib.parse import unquote

from uvicorn._types import ASGI3Application, HTTPScope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from websockets.http11 import Request
from websockets.server import ServerProtocol

from fieldstation.core.errors import Busy, Malformed, StationError
from fieldstation.web.middleware import REFUSED, UNREADABLE

RETRY_AFTER_S = 5
FAULT_CHARACTERS_MAX = 100


class HttpProtocol(HttpToolsProtocol):
    """Hands refusals to the application, in the scope, and closes the connection behind them."""

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        if app is not self.app:
            full = "The station has as many connections as HTTP_CONNECTIONS_MAX allows; come back."
            error = Busy(full, retry_after_s=RETRY_AFTER_S, code="too_many_connections")
            refuse(cycle, error)
        super()._start_asgi_task(cycle, cast(ASGI3Application, self.app))

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, instead of the request that it spoils.

        Where it is the request's body, the request is refused by whoever reads it: another method,
        path or caller may have been refused before.
        """
        running = self.cycle
        if running is not None and not running.response_complete:
            if REFUSED in running.scope:
                return
            if running.response_started:
                self.transport.close()
                return
            if running.more_body:
                running.scope["state"].setdefault(UNREADABLE, Malformed(msg))
                running.keep_alive = False
                running.message_event.set()
                return
            running.disconnected = True
            running.message_event.set()
        self.cycle = self._unread()
        refuse(self.cycle, Malformed(msg))
        super()._start_asgi_task(self.cycle, cast(ASGI3Application, self.app))

    def handle_websocket_upgrade(self) -> None:
        """Hand a handshake on; answer here what is none, where an answer has all its headers."""
        fault = handshake_fault(self.scope["method"].encode(), self.url, self.headers)
        running = self.cycle
        if fault is None:
            super().handle_websocket_upgrade()
        elif running is None or running.response_complete:
            path = unquote(self.url.partition(b"?")[0].decode("latin-1"))
            self.cycle = self._unread(method=self.scope["method"], path=path)
            refuse(self.cycle, Malformed(fault))
            super()._start_asgi_task(self.cycle, cast(ASGI3Application, self.app))
        elif REFUSED not in running.scope:
            self.transport.close()

    def _unread(self, *, method: str = "GET", path: str = "/") -> RequestResponseCycle:
        """Return an exchange whose request nobody could read, or will."""
        scope: dict[str, object] = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": "1.1",
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "method": method,
            "root_path": "",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [],
            "state": {},
        }
        return RequestResponseCycle(
            scope=cast(HTTPScope, scope),
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=False,
            on_response=self.on_response_complete,
        )


def handshake_fault(method: bytes, url: bytes, headers: list[tuple[bytes, bytes]]) -> str | None:
    """Return what the WebSocket library has against a handshake, in a sentence."""
    lines = [b"%s %s HTTP/1.1" % (method, url), *(b"%s: %s" % header for header in headers)]
    protocol = ServerProtocol()
    protocol.receive_data(b"\r\n".join([*lines, b"", b""]))
    for event in protocol.events_received():
        if isinstance(event, Request):
            protocol.accept(event)
    fault = protocol.handshake_exc
    if fault is None:
        return None
    return f"This is no WebSocket handshake: {str(fault)[:FAULT_CHARACTERS_MAX]}."


def refuse(cycle: RequestResponseCycle, error: StationError) -> None:
    cast(dict[str, object], cycle.scope)[REFUSED] = error
    cycle.keep_alive = False
