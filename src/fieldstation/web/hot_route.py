"""The few routes where microseconds count: in OpenAPI, but served ahead of FastAPI."""

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

from fastapi import FastAPI, Request
from fastapi.routing import APIRoute
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from fieldstation.core.errors import Busy, StationError
from fieldstation.web.pacing import Pace
from fieldstation.web.problems import render_error
from fieldstation.web.routing import Routers, http_routes

Endpoint = Callable[[Request], Coroutine[Any, Any, Response]]
Shortcut = Callable[[Request], Coroutine[Any, Any, Response | None]]
Declared = TypeVar("Declared", bound=Callable[..., object])

SHORTCUT = "__shortcut__"


class HotRoute(APIRoute):
    """Calls ``endpoint(request)`` and sends what it returns; declared parameters only document."""

    def get_route_handler(self) -> Endpoint:
        return cast(Endpoint, self.endpoint)


def shortcut(answer: Shortcut) -> Callable[[Declared], Declared]:
    """Declare what answers a route's usual requests: ``@shortcut(answer)`` above the function.

    It looks into memory alone. Where it returns None the route itself is asked, which therefore
    knows all the rest, and every refusal.
    """

    def declare(endpoint: Declared) -> Declared:
        setattr(endpoint, SHORTCUT, answer)
        return endpoint

    return declare


class HotRoutes:
    """Serves hot routes and shortcuts itself and hands everything else on.

    FastAPI's router, exit stacks and telemetry hooks cost five times what the routes themselves do.
    """

    def __init__(self, app: ASGIApp, *, station: FastAPI, routers: Routers) -> None:
        self.app = app
        self.station = station
        self.pace = Pace()
        self.routes = [
            (method, route, cast(Shortcut, getattr(route.endpoint, SHORTCUT, route.endpoint)))
            for route in http_routes(routers)
            if isinstance(route, HotRoute) or hasattr(route.endpoint, SHORTCUT)
            for method in route.methods or ()
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            for method, route, answer in self.routes:
                if scope["method"] == method:
                    match = route.path_regex.match(scope["path"])
                    if match is not None:
                        scope["app"] = self.station
                        scope["route"] = route
                        scope["path_params"] = match.groupdict()
                        response = await self.answered(answer, Request(scope, receive))
                        if response is None:
                            break
                        await response(scope, receive, send)
                        return
        await self.app(scope, receive, send)

    async def answered(self, answer: Shortcut, request: Request) -> Response | None:
        try:
            return await answer(request)
        except StationError as error:
            if isinstance(error, Busy):
                await self.pace.turn()
            return render_error(error, request.scope["path"])
