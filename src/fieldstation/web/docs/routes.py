"""The documentation pages, what they load, and the two documents they show."""

import gzip
from dataclasses import dataclass
from typing import Any

import msgspec
from fastapi import Request
from starlette.responses import HTMLResponse, Response

from fieldstation.core.errors import NotFound
from fieldstation.web.dependencies import TheSettings
from fieldstation.web.docs.assets import Asset, load_assets, version
from fieldstation.web.docs.pages import reading_page, viewer
from fieldstation.web.docs.protocols import explain
from fieldstation.web.routing import station_router

router = station_router(include_in_schema=False)

JSON = "application/json"
FOREVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Documents:
    """The two documents as they are sent, and the page that explains the second one."""

    openapi: Asset
    asyncapi: Asset
    protocols: str


def render_documents(openapi: dict[str, Any], asyncapi: dict[str, Any]) -> Documents:
    """Encode and compress both documents once."""
    return Documents(rendered(openapi), rendered(asyncapi), explain(asyncapi))


def rendered(document: dict[str, Any]) -> Asset:
    return Asset(gzip.compress(msgspec.json.encode(document), 6, mtime=0), JSON)


@router.get("/docs")
async def show_scalar(settings: TheSettings) -> HTMLResponse:
    """Show the API in Scalar."""
    return viewer(
        "Fieldstation API",
        browser=settings.browser,
        scripts=("without-eval.js", "scalar.js", "scalar-start.js"),
    )


@router.get("/swagger")
async def show_swagger_ui(settings: TheSettings) -> HTMLResponse:
    """Show the API in Swagger UI."""
    return viewer(
        "Fieldstation API · Swagger UI",
        browser=settings.browser,
        scripts=("swagger-ui.js", "swagger-start.js"),
        styles=("swagger-ui.css",),
    )


@router.get("/redoc")
async def show_redoc(settings: TheSettings) -> HTMLResponse:
    """Show the API in ReDoc."""
    return viewer("Fieldstation API · ReDoc", browser=settings.browser, scripts=("redoc-start.js",))


@router.get("/docs/websocket")
async def show_protocols(request: Request, settings: TheSettings) -> HTMLResponse:
    """Explain the WebSockets and MQTT."""
    documents: Documents = request.app.state.documents()
    return reading_page(
        "Fieldstation: sockets and MQTT",
        documents.protocols,
        browser=settings.browser,
        script="socket-try.js",
    )


@router.get("/openapi.json")
async def read_openapi(request: Request) -> Response:
    """Return the OpenAPI document."""
    return answer(request, request.app.state.documents().openapi, cache="no-cache")


@router.get("/asyncapi.json")
async def read_asyncapi(request: Request) -> Response:
    """Return the AsyncAPI document."""
    return answer(request, request.app.state.documents().asyncapi, cache="no-cache")


@router.get("/docs/assets/{wanted}/{name}")
async def read_asset(request: Request, wanted: str, name: str) -> Response:
    """Return a file that a page loads; its address names its content, so it may be kept forever."""
    asset = load_assets().get(name)
    if asset is None or wanted != version():
        raise NotFound("There is no such file; load the page again.")
    return answer(request, asset, cache=FOREVER)


def answer(request: Request, asset: Asset, *, cache: str) -> Response:
    """Send compressed content as it is, or inflated to a client that does not take gzip."""
    headers = {"Cache-Control": cache, "Vary": "Accept-Encoding"}
    if "gzip" not in request.headers.get("accept-encoding", ""):
        content = gzip.decompress(asset.compressed)
        return Response(content, media_type=asset.media_type, headers=headers)
    headers["Content-Encoding"] = "gzip"
    return Response(asset.compressed, media_type=asset.media_type, headers=headers)
