"""How routes are gathered: every router knows its whole path, and each of its routes is built once.

FastAPI's ``include_router`` builds the routes of a router anew for the prefix, when the first
request comes, and takes every later one through three more layers.
"""

from collections.abc import Iterable, Iterator
from enum import Enum

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute

API = "/api/v1"

Routers = Iterable[APIRouter]


def station_router(
    prefix: str = "",
    *,
    tag: str | None = None,
    route_class: type[APIRoute] = APIRoute,
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
