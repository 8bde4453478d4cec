"""Which methods a path takes: for the Allow header of a 405, over all routes of that path."""

from fieldstation.web.routing import Routers, http_routes


class AllowedMethods:
    """Looks through all routes; asked only when a request is refused."""

    def __init__(self, routers: Routers) -> None:
        self._routes = list(http_routes(routers))

    def at(self, path: str) -> str:
        """Return the methods as the header writes them; GET always brings HEAD."""
        found = {
            method
            for route in self._routes
            if route.path_regex.match(path)
            for method in route.methods or ()
        }
        if "GET" in found:
            found.add("HEAD")
        return ", ".join(sorted(found))
