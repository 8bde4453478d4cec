"""Renders the documentation pages, each under the policy of the settings."""

import secrets
from html import escape

from starlette.responses import HTMLResponse

from fieldstation.core.settings import BrowserSettings
from fieldstation.web.docs.assets import address_of
from fieldstation.web.security_headers import page_policy

MODULES = {"redoc-start.js", "swagger-start.js"}
LINKS = (
    ("Scalar", "/docs"),
    ("Swagger UI", "/swagger"),
    ("ReDoc", "/redoc"),
    ("Sockets and MQTT", "/docs/websocket"),
    ("openapi.json", "/openapi.json"),
    ("asyncapi.json", "/asyncapi.json"),
)


def viewer(
    title: str,
    *,
    browser: BrowserSettings,
    scripts: tuple[str, ...],
    styles: tuple[str, ...] = (),
) -> HTMLResponse:
    """Return the page of one viewer; what it loads is named, and it starts itself."""
    nonce = secrets.token_urlsafe(16)
    loaded = "\n".join(script_tag(name, nonce, module=name in MODULES) for name in scripts)
    body = (
        '<p id="loading">Loading the reference … it needs JavaScript; the document itself is at'
        ' <a href="/openapi.json">/openapi.json</a>.</p>\n<div id="reference"></div>'
    )
    return page(
        title, f"{body}\n{loaded}", browser=browser, nonce=nonce, viewer=True, styles=styles
    )


def reading_page(
    title: str, content: str, *, browser: BrowserSettings, script: str
) -> HTMLResponse:
    """Return a page to read; its script is needed only to try things."""
    nonce = secrets.token_urlsafe(16)
    links = " · ".join(f'<a href="{address}">{name}</a>' for name, address in LINKS)
    tag = script_tag(script, nonce, module=False)
    body = f'<main class="reading"><nav>{links}</nav>\n{content}\n</main>\n{tag}'
    return page(title, body, browser=browser, nonce=nonce)


def script_tag(name: str, nonce: str, *, module: bool) -> str:
    kind = ' type="module"' if module else " defer"
    return f'<script{kind} src="{address_of(name)}" nonce="{nonce}"></script>'


def page(
    title: str,
    body: str,
    *,
    browser: BrowserSettings,
    nonce: str,
    viewer: bool = False,
    styles: tuple[str, ...] = (),
) -> HTMLResponse:
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
    headers = {"Cache-Control": "no-store"}
    if browser.csp_enabled:
        headers["Content-Security-Policy"] = page_policy(browser, nonce=nonce, viewer=viewer)
    return HTMLResponse(content, headers=headers)
