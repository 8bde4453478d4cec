"""Limits on requests: declared beside a route, held before anything of the request is read."""

import math
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple, TypeVar

from fastapi.routing import APIRoute
from starlette.types import Scope

from fieldstation.core.errors import Busy, TooManyRequests
from fieldstation.core.rates import RateLimit, read_rate
from fieldstation.core.settings import LimitSettings
from fieldstation.web.proxies import counted_address
from fieldstation.web.rate_counters import Key, RateCounters, Verdict
from fieldstation.web.routing import Routers, http_routes
from fieldstation.web.security_headers import Headers

Endpoint = TypeVar("Endpoint", bound=Callable[..., object])

DECLARED = "__rate_limit__"
UNLIMITED = frozenset({"/health/live", "/health/ready"})  # orchestrators ask as often as they like
EVERYTHING = "*"
REFUSED_TOKENS = "refused token"


class Known(NamedTuple):
    """Who a valid token stands for."""

    kind: str
    id: str


class Recognise:
    """Tells who a request's token stands for; given by identity. Looking up raises ``Busy``."""

    def __init__(
        self,
        offered: Callable[[Mapping[bytes, bytes]], str | None],
        remembered: Callable[[str], Known | None],
        look_up: Callable[[str], Awaitable[Known | None]],
    ) -> None:
        self.offered = offered
        self.remembered = remembered
        self.look_up = look_up

    async def caller(self, headers: Mapping[bytes, bytes]) -> Known | None:
        """Return who a request's token stands for, whatever that costs. Raises ``Busy``."""
        token = self.offered(headers)
        return None if token is None else self.remembered(token) or await self.look_up(token)


class OwnLimit(NamedTuple):
    """What a route declared; ``by_address`` counts for the client address whoever it is."""

    limit: RateLimit
    by_address: bool


def limited(rate: str, *, by_address: bool = False) -> Callable[[Endpoint], Endpoint]:
    """Declare a route's own limit: ``@limited("5/minute")`` right above the function.

    It counts for the user or device, or for the client address when there is none; where accounts
    are tried or made always for the address.
    """
    own = OwnLimit(read_rate(rate), by_address)

    def declare(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, DECLARED, own)
        return endpoint

    return declare


def declared_limit(route: APIRoute) -> OwnLimit | None:
    """Return the limit that a route has for itself."""
    found = getattr(route.endpoint, DECLARED, None)
    return found if isinstance(found, OwnLimit) else None


class RouteLimits:
    """The declared limits of all routes, by method and path."""

    def __init__(self, routers: Routers) -> None:
        self._exact: dict[tuple[str, str], tuple[str, OwnLimit]] = {}
        self._patterns: list[tuple[str, re.Pattern[str], str, OwnLimit]] = []
        for route in http_routes(routers):
            self._add(route)

    def _add(self, route: APIRoute) -> None:
        own = declared_limit(route)
        if own is None:
            return
        for method in route.methods or ():
            name = f"{method} {route.path}"
            if "{" in route.path:
                self._patterns.append((method, route.path_regex, name, own))
            else:
                self._exact[method, route.path] = (name, own)

    def find(self, method: str, path: str) -> tuple[str, OwnLimit] | None:
        """Return the name and the limit of a route that has its own."""
        found = self._exact.get((method, path))
        if found is not None or not self._patterns:
            return found
        return next(
            (
                (name, own)
                for wanted, pattern, name, own in self._patterns
                if wanted == method and pattern.match(path)
            ),
            None,
        )


class RateGate:
    """Counts every request for its device, else its user, else its client address."""

    def __init__(
        self,
        counters: RateCounters,
        settings: LimitSettings,
        *,
        routes: RouteLimits,
        recognise: Recognise,
    ) -> None:
        self._counters = counters
        self._routes = routes
        self._recognise = recognise
        self._factor = settings.factor
        self._defaults = {
            "device": settings.device.times(settings.factor),
            "user": settings.user.times(settings.factor),
            "address": settings.address.times(settings.factor),
        }

    async def admit(self, scope: Scope, headers: Mapping[bytes, bytes]) -> Headers:
        """Count a request; return the headers that say so. Raises ``TooManyRequests``."""
        path = scope["path"]
        if path in UNLIMITED:
            return []
        found = self._routes.find(scope.get("method", "GET"), path)
        if found is not None and found[1].by_address:
            name, own = found
            return self._count((name, address_of(scope)), own.limit.times(self._factor))
        try:
            kind, who = await self._who(scope, headers)
        except Busy:  # nobody knows whom to count; the route says so itself, if it asks at all
            return []
        if found is None:
            return self._count((EVERYTHING, who), self._defaults[kind])
        name, own = found
        return self._count((name, who), own.limit.times(self._factor))

    def _count(self, key: Key, limit: RateLimit) -> Headers:
        verdict = self._counters.hit(key, limit)
        if not verdict.allowed:
            raise refusal(verdict)
        return limit_headers(verdict)

    async def _who(self, scope: Scope, headers: Mapping[bytes, bytes]) -> tuple[str, str]:
        """Return which default applies, and the key.

        A token that is not remembered costs a look into the database. An address that offered as
        many bad ones as a user may send requests is refused without one; until then good ones pass,
        whatever else comes from there. Raises ``Busy``.
        """
        address = address_of(scope)
        token = self._recognise.offered(headers)
        if token is None:
            return "address", address
        known = self._recognise.remembered(token)
        if known is None:
            limit = self._defaults["user"]
            guesses = (REFUSED_TOKENS, address)
            verdict = self._counters.look(guesses, limit)
            if not verdict.allowed:
                raise refusal(verdict)
            known = await self._recognise.look_up(token)
            if known is None:
                self._counters.hit(guesses, limit)
                return "address", address
        return known.kind, f"{known.kind} {known.id}"


class NamedLimits:
    """Limits of what is not a route: such as logins of one account, from wherever they come."""

    def __init__(self, counters: RateCounters, settings: LimitSettings) -> None:
        self._counters = counters
        self._settings = settings

    def demand(self, name: str, who: str, limit: RateLimit) -> None:
        """Count one more. Raises ``TooManyRequests``."""
        if not self._settings.enabled:
            return
        verdict = self._counters.hit((name, who), limit.times(self._settings.factor))
        if not verdict.allowed:
            raise refusal(verdict)


def address_of(scope: Scope) -> str:
    client = scope.get("client")
    return "address unknown" if client is None else f"address {counted_address(client[0])}"


class RateLimited(TooManyRequests):
    """One request too many; the answer says what the limit is."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(
            f"More than {verdict.limit} requests; come back in {verdict.retry_after_s} seconds.",
            retry_after_s=verdict.retry_after_s,
        )
        self.verdict = verdict


def refusal(verdict: Verdict) -> RateLimited:
    return RateLimited(verdict)


def limit_headers(verdict: Verdict) -> Headers:
    return [
        (b"x-ratelimit-limit", b"%d" % verdict.limit),
        (b"x-ratelimit-remaining", b"%d" % verdict.remaining),
        (b"x-ratelimit-reset", b"%d" % math.ceil(verdict.reset_s)),
    ]
