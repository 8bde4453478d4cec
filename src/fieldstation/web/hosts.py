"""Which Host names the station answers to, and when a request is sent to HTTPS."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.responses import RedirectResponse, Response
from starlette.types import Scope

from fieldstation.core.errors import Malformed
from fieldstation.core.settings import HttpSettings
from fieldstation.web.aliases import ALIASES

PLAIN = frozenset({"http", "ws"})
HEALTH = frozenset({ALIASES["/health"], "/health/live", "/health/ready"})
PERMANENT_REDIRECT = 308


class Hosts:
    """Refuses foreign Host headers and sends plain HTTP to HTTPS, as far as configured."""

    def __init__(self, settings: HttpSettings, public_url: str | None) -> None:
        public = urlsplit(public_url or "")
        names = {bracketed(name.lower()) for name in settings.allowed_hosts}
        self.any = not names or "*" in names
        self.exact = {name for name in names if not name.startswith("*.")}
        self.endings = tuple(name[1:] for name in names if name.startswith("*."))
        if public.hostname:
            self.exact.add(bracketed(public.hostname))
        self.redirect = settings.https_redirect
        self.secure_netloc = public.netloc if public.scheme == "https" else None

    def check(self, host: bytes | None) -> None:
        """Return if the Host header names this station. Raises ``Malformed``."""
        if self.any:
            return
        name = hostname((host or b"").decode("latin-1"))
        if name not in self.exact and not name.endswith(self.endings or ("\0",)):
            raise Malformed(
                "The Host header names another station; ALLOWED_HOSTS lists this one's names.",
                code="foreign_host",
            )

    def secured(self, scope: Scope, headers: Mapping[bytes, bytes]) -> Response | None:
        """Return the redirect of a plain request, or None when it may go on."""
        if not self.redirect or scope["scheme"] not in PLAIN:
            return None
        if scope["path"] in HEALTH:
            return None
        netloc = self.secure_netloc or hostname(headers.get(b"host", b"").decode("latin-1"))
        raw_path = scope.get("raw_path", scope["path"].encode()).decode("latin-1")
        query = scope["query_string"].decode("latin-1")
        scheme = "wss" if scope["type"] == "websocket" else "https"
        url = f"{scheme}://{netloc}{raw_path}{f'?{query}' if query else ''}"
        return RedirectResponse(url, status_code=PERMANENT_REDIRECT)


def bracketed(name: str) -> str:
    """Return a name as Host headers write it: an IPv6 address in brackets."""
    return f"[{name}]" if ":" in name and not name.startswith("[") else name


def hostname(host: str) -> str:
    """Return a Host header's name without its port, brackets kept."""
    if host.startswith("["):
        return f"{host.partition(']')[0]}]".lower()
    return host.partition(":")[0].lower().rstrip(".")
