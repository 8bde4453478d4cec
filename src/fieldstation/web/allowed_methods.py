"""Which methods a path takes: for the Allow header of a 405, over all routes of that path."""

from collections.abc import Iterable

from fastapi import APIRouter
from fastapi.routing import APIRoute


class AllowedMethods:
    """Looks through all routes; asked only when a request is refused."""

    def __init__(self, routers: Iterable[tuple[APIRouter, str]]) -> None:
        self._routes = [
            (prefix, route)
            for router, prefix in routers
            for route in router.routes
            if isinstance(route, APIRoute)
        ]

    def at(self, path: str) -> str:
        """Return the methods as the header writes them; GET always brings HEAD."""
        found = {
            method
            for prefix, route in self._routes
            if path.startswith(prefix) and route.path_regex.match(path[len(prefix) :])
            for method in route.methods or ()
        }
        if "GET" in found:
            found.add("HEAD")
        return ", ".join(sorted(found))
