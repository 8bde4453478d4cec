"""The few routes where microseconds count: in OpenAPI, but served ahead of FastAPI."""

from collections.abc import Callable, Coroutine
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.routing import APIRoute
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from fieldstation.core.errors import Busy, StationError
from fieldstation.web.pacing import Pace
from fieldstation.web.problems import render_error
from fieldstation.web.routing import Routers, http_routes

Endpoint = Callable[[Request], Coroutine[Any, Any, Response]]


class HotRoute(APIRoute):
    """Calls ``endpoint(request)`` and sends what it returns; declared parameters only document."""

    def get_route_handler(self) -> Endpoint:
        return cast(Endpoint, self.endpoint)


class HotRoutes:
    """Serves hot routes itself and hands everything else on.

    FastAPI's router, exit stacks and telemetry hooks cost five times what the routes themselves do.
    """

    def __init__(self, app: ASGIApp, *, station: FastAPI, routers: Routers) -> None:
        self.app = app
        self.station = station
        self.pace = Pace()
        self.routes = [
            (method, route)
            for route in http_routes(routers)
            if isinstance(route, HotRoute)
            for method in route.methods or ()
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            for method, route in self.routes:
                if scope["method"] == method:
                    match = route.path_regex.match(scope["path"])
                    if match is not None:
                        scope["app"] = self.station
                        scope["route"] = route
                        scope["path_params"] = match.groupdict()
                        await self.serve(route, scope, receive, send)
                        return
        await self.app(scope, receive, send)

    async def serve(self, route: HotRoute, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = await route.endpoint(Request(scope, receive))
        except StationError as error:
            if isinstance(error, Busy):
                await self.pace.turn()
            response = render_error(error, scope["path"])
        await response(scope, receive, send)
