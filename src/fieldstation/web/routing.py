"""How routes are gathered: each knows its whole path, and is built once, when it is needed.

FastAPI's ``include_router`` builds the routes of a router anew for the prefix, when the first
request comes, and takes every later one through three more layers.
"""

from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.routing import compile_path, get_name

API = "/api/v1"

Routers = Iterable[APIRouter]


class StationRoute(APIRoute):
    """Knows where it is and what it calls; the rest is built when somebody first needs it.

    The parameters, bodies and answers of sixty routes are a tenth of a start, and a station that
    has just started is asked for few of them. The document needs all, so a route that cannot be
    built fails the tests of the document.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **declared: Any) -> None:
        self._declared = declared
        self.path, self.endpoint = path, endpoint
        self.name = declared.get("name") or get_name(endpoint)
        self.path_regex, self.path_format, self.param_convertors = compile_path(path)
        self.methods = {method.upper() for method in declared.get("methods") or ("GET",)}
        self.status_code = declared.get("status_code")

    def __getattr__(self, name: str) -> Any:
        """Build the route: what is asked for is not there yet."""
        declared = self.__dict__.pop("_declared", None)
        if declared is None:
            raise AttributeError(f"{type(self).__name__} has no attribute {name}")
        super().__init__(self.path, self.endpoint, **declared)
        return getattr(self, name)


def station_router(
    prefix: str = "",
    *,
    tag: str | None = None,
    route_class: type[APIRoute] = StationRoute,
    include_in_schema: bool = True,
) -> APIRouter:
    """Return a router for routes below ``prefix``, to be listed in ``main``."""
    tags: list[str | Enum] = [] if tag is None else [tag]
    return APIRouter(
        prefix=prefix,
        tags=tags,
        route_class=route_class,
        include_in_schema=include_in_schema,
        generate_unique_id_function=operation_id,
        strict_content_type=False,  # what says nothing is JSON; BodyCheck refuses what says else
    )


def operation_id(route: APIRoute) -> str:
    """Name an operation for generated clients: its area and its function."""
    area = str(route.tags[0]).lower() if route.tags else "station"
    return area + "".join(word.capitalize() for word in route.name.split("_"))


def mount(app: FastAPI, routers: Routers) -> None:
    """Make the routes those of the application."""
    for router in routers:
        app.router.routes.extend(router.routes)


def http_routes(routers: Routers) -> Iterator[APIRoute]:
    """Yield the routes that are asked by HTTP: all but the sockets."""
    for router in routers:
        yield from (route for route in router.routes if isinstance(route, APIRoute))
