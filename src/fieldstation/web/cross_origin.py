"""Cross-origin resource sharing: which other pages may use the API from a browser."""

from collections.abc import Mapping

from starlette.responses import Response

from fieldstation.core.errors import Forbidden
from fieldstation.core.settings import BrowserSettings

Headers = list[tuple[bytes, bytes]]

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
EXPOSED = (
    "X-Correlation-ID, X-Request-ID, X-Process-Time, X-RateLimit-Limit, X-RateLimit-Remaining, "
    "X-RateLimit-Reset, Retry-After, ETag, Location, traceparent, Idempotency-Replayed, "
    "WWW-Authenticate"
)
PREFLIGHT_AGE_S = 600


class CrossOrigin:
    """Adds the headers for configured origins and answers preflights; everything encoded once."""

    def __init__(self, settings: BrowserSettings, origins: tuple[str, ...]) -> None:
        self.anybody = settings.cors_enabled and "*" in origins
        named = origins if settings.cors_enabled and not self.anybody else ()
        self.origins = frozenset(origin.encode() for origin in named)
        self.methods = METHODS if "*" in settings.cors_methods else settings.cors_methods
        self.request_headers = settings.cors_headers
        # A credential and an origin of * never go together: any page could act as the user.
        credentials = settings.cors_credentials and not self.anybody
        self._allowed: Headers = [
            (b"access-control-expose-headers", EXPOSED.encode()),
            *([(b"access-control-allow-credentials", b"true")] if credentials else []),
        ]
        self._vary: Headers = [(b"vary", b"Origin")] if self.origins else []

    def headers_for(self, origin: bytes | None) -> Headers:
        """Return what an answer to a page of this origin carries."""
        if origin is None or not self.allows(origin):
            return self._vary
        said = b"*" if self.anybody else origin
        return [(b"access-control-allow-origin", said), *self._allowed, *self._vary]

    def allows(self, origin: bytes) -> bool:
        return self.anybody or origin in self.origins

    def preflight(self, method: str, headers: Mapping[bytes, bytes]) -> Response | None:
        """Return the answer to a preflight, None for every other request. Raises ``Forbidden``."""
        origin, wanted = headers.get(b"origin"), headers.get(b"access-control-request-method")
        if method != "OPTIONS" or origin is None or wanted is None:
            return None
        if not self.allows(origin):
            raise Forbidden(
                "Pages of this origin may not use the API; CORS_ORIGINS lists those that may.",
                code="origin_refused",
            )
        return Response(
            status_code=204,
            headers={
                "Access-Control-Allow-Methods": ", ".join(self.methods),
                "Access-Control-Allow-Headers": self.allowed_headers(headers),
                "Access-Control-Max-Age": str(PREFLIGHT_AGE_S),
            },
        )

    def allowed_headers(self, headers: Mapping[bytes, bytes]) -> str:
        if "*" not in self.request_headers:
            return ", ".join(self.request_headers)
        return headers.get(b"access-control-request-headers", b"").decode("latin-1")
