"""Renders the documentation pages and the policy under which browsers show them."""

import secrets
from html import escape

from starlette.responses import HTMLResponse

from fieldstation.web.docs.assets import address_of

LINKS = (
    ("Scalar", "/docs"),
    ("Swagger UI", "/swagger"),
    ("ReDoc", "/redoc"),
    ("Sockets and MQTT", "/docs/websocket"),
    ("openapi.json", "/openapi.json"),
    ("asyncapi.json", "/asyncapi.json"),
)


def policy(nonce: str) -> str:
    """Return the Content-Security-Policy: everything from this station, scripts by file or nonce.

    Inline styles are allowed: the viewers set `style` attributes, which no nonce covers.
    """
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src 'self' 'nonce-{nonce}'",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data:",
            "font-src 'self' data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


def viewer(title: str, *, scripts: tuple[str, ...], styles: tuple[str, ...] = ()) -> HTMLResponse:
    """Return the page of one viewer; what it loads is named, and it starts itself."""
    nonce = secrets.token_urlsafe(16)
    loaded = "\n".join(script_tag(name, nonce, module=name.startswith("redoc")) for name in scripts)
    body = (
        '<p id="loading">Loading the reference … it needs JavaScript; the document itself is at'
        ' <a href="/openapi.json">/openapi.json</a>.</p>\n<div id="reference"></div>'
    )
    return page(title, f"{body}\n{loaded}", nonce=nonce, styles=styles)


def reading_page(title: str, content: str, *, script: str) -> HTMLResponse:
    """Return a page to read; its script is needed only to try things."""
    nonce = secrets.token_urlsafe(16)
    links = " · ".join(f'<a href="{address}">{name}</a>' for name, address in LINKS)
    tag = script_tag(script, nonce, module=False)
    body = f'<main class="reading"><nav>{links}</nav>\n{content}\n</main>\n{tag}'
    return page(title, body, nonce=nonce)


def script_tag(name: str, nonce: str, *, module: bool) -> str:
    kind = ' type="module"' if module else " defer"
    return f'<script{kind} src="{address_of(name)}" nonce="{nonce}"></script>'


def page(title: str, body: str, *, nonce: str, styles: tuple[str, ...] = ()) -> HTMLResponse:
    sheets = "\n".join(
        f'<link rel="stylesheet" href="{address_of(name)}">' for name in ("pages.css", *styles)
    )
    content = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta property="csp-nonce" content="{nonce}">
<title>{escape(title)}</title>
<link rel="icon" href="{address_of("icon.svg")}">
{sheets}
</head>
<body>
{body}
</body>
</html>
"""
    headers = {"Content-Security-Policy": policy(nonce), "Cache-Control": "no-store"}
    return HTMLResponse(content, headers=headers)
