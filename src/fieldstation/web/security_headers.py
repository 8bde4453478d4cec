"""The headers that tell browsers what an answer may do: strict for the API, settable for pages."""

from collections.abc import Sequence

from fieldstation.core.settings import BrowserSettings

Headers = list[tuple[bytes, bytes]]

CSP = b"content-security-policy"
NOTHING = "'none'"
INLINE = "'unsafe-inline'"
# Answers of the API are data: a browser that shows one loads, runs, submits and frames nothing.
API_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


def page_policy(
    settings: BrowserSettings, *, nonce: str | None = None, viewer: bool = False
) -> str:
    """Return the policy of an HTML page of ours, as the settings have it; its scripts and styles
    carry the nonce.

    A viewer of other people's making sets ``style`` attributes, which no nonce covers (and beside
    which ``'unsafe-inline'`` would not count), and brings a font inside its script.
    """
    own = () if nonce is None else (f"'nonce-{nonce}'",)
    directives: list[tuple[str, Sequence[str]]] = [
        ("default-src", settings.csp_default_src),
        ("script-src", (*settings.csp_script_src, *own)),
        ("style-src", (*settings.csp_style_src, *((INLINE,) if viewer else own))),
        ("img-src", settings.csp_img_src),
        *([("font-src", ("'self'", "data:"))] if viewer else ()),
        ("connect-src", settings.csp_connect_src),
        ("object-src", (NOTHING,)),
        ("frame-ancestors", (frame_ancestors(settings),)),
        ("base-uri", ("'self'",)),
        ("form-action", ("'self'",)),
    ]
    return with_report("; ".join(f"{name} {' '.join(of)}" for name, of in directives), settings)


def api_policy(settings: BrowserSettings) -> str:
    """Return the policy of everything that is not a page."""
    return with_report(API_POLICY, settings)


def with_report(policy: str, settings: BrowserSettings) -> str:
    uri = settings.csp_report_uri
    return policy if uri is None else f"{policy}; report-uri {uri}"


def frame_ancestors(settings: BrowserSettings) -> str:
    return NOTHING if settings.frame_options == "DENY" else "'self'"


class SecurityHeaders:
    """What every answer carries; encoded once."""

    def __init__(self, settings: BrowserSettings, *, production: bool) -> None:
        self.fixed = fixed_headers(settings, production=production)
        self._api = [(CSP, api_policy(settings).encode())] if settings.csp_enabled else []
        self._page = [(CSP, page_policy(settings).encode())] if settings.csp_enabled else []

    def policy_for(self, answer: Sequence[tuple[bytes, bytes]]) -> Headers:
        """Return the policy that an answer lacks: none when it brings its own."""
        found = self._api
        for name, value in answer:
            if name == CSP:
                return []
            if name == b"content-type" and value.startswith(b"text/html"):
                found = self._page
        return found


def fixed_headers(settings: BrowserSettings, *, production: bool) -> Headers:
    """Return the headers that are the same on every answer."""
    headers = [
        (b"x-content-type-options", b"nosniff"),
        (b"x-frame-options", settings.frame_options.encode()),
        (b"x-xss-protection", b"1; mode=block"),
        (b"referrer-policy", b"strict-origin-when-cross-origin"),
        (b"permissions-policy", b"geolocation=(), microphone=(), camera=(), payment=(), usb=()"),
        (b"cross-origin-opener-policy", b"same-origin"),
        (b"cross-origin-resource-policy", b"same-origin"),
    ]
    if production and settings.hsts_enabled:
        age = b"max-age=%d; includeSubDomains; preload" % settings.hsts_max_age
        headers.append((b"strict-transport-security", age))
    return headers
