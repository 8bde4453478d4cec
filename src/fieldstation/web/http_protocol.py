"""Uvicorn's HTTP protocol, but what it refuses by itself is answered by the front door."""

import asyncio
from typing import cast

from uvicorn._types import ASGI3Application, HTTPScope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from fieldstation.core.errors import Busy, Malformed, StationError
from fieldstation.web.middleware import REFUSED

RETRY_AFTER_S = 5


class HttpProtocol(HttpToolsProtocol):
    """Hands refusals to the application, in the scope, and closes the connection behind them."""

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        if app is not self.app:
            full = "The station has as many connections as HTTP_CONNECTIONS_MAX allows; come back."
            error = Busy(full, retry_after_s=RETRY_AFTER_S, code="too_many_connections")
            refuse(cycle, error)
        super()._start_asgi_task(cycle, cast(ASGI3Application, self.app))

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, instead of the request that it spoils."""
        running = self.cycle
        if running is not None and not running.response_complete:
            if REFUSED in running.scope:
                return
            if running.response_started:
                self.transport.close()
                return
            running.disconnected = True
            running.message_event.set()
        self.cycle = self._unread()
        refuse(self.cycle, Malformed(msg))
        super()._start_asgi_task(self.cycle, cast(ASGI3Application, self.app))

    def _unread(self) -> RequestResponseCycle:
        """Return an exchange whose request nobody could read."""
        scope: dict[str, object] = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": "1.1",
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "method": "GET",
            "root_path": "",
            "path": "/",
            "raw_path": b"/",
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


def refuse(cycle: RequestResponseCycle, error: StationError) -> None:
    cast(dict[str, object], cycle.scope)[REFUSED] = error
    cycle.keep_alive = False
