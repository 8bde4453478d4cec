"""Health, status, metrics, version and the front page."""

from typing import Annotated, Any

from fastapi import Depends, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import PlainTextResponse

from fieldstation import __version__
from fieldstation.domains.identity.access import Caller, require
from fieldstation.domains.system import service
from fieldstation.domains.system.access import documented_reader, may_read_metrics
from fieldstation.domains.system.schemas import (
    UNHEALTHY_EXAMPLE,
    Documentation,
    FrontPage,
    Health,
    HealthRead,
    Liveness,
    StatusRead,
    SystemMetrics,
    VersionRead,
)
from fieldstation.web.routing import API, station_router

router = station_router(tag="System")
api_router = station_router(API, tag="System")

UNHEALTHY: dict[int | str, dict[str, Any]] = {
    503: {
        "model": HealthRead,
        "description": "It cannot serve now.",
        "content": {"application/json": {"example": UNHEALTHY_EXAMPLE}},
    }
}
METRICS_EXAMPLE = (
    "# HELP rover_api_requests_total Requests by method, endpoint and status.\n"
    "# TYPE rover_api_requests_total counter\n"
    'rover_api_requests_total{method="GET",endpoint="/api/v1/devices",status="200"} 42.0\n'
)
OrganizationReader = Annotated[Caller, Depends(require("org:read"))]


@api_router.get("/health", summary="Read the station's health", responses=UNHEALTHY)
async def read_health(request: Request, response: Response) -> HealthRead:
    """Return the state of every part; 503 only when the station cannot serve."""
    found = await service.health(request.app.state.station)
    if found.status is Health.UNHEALTHY:
        response.status_code = 503
    return found


@router.get("/health/live", summary="Is it alive?")
async def read_liveness() -> Liveness:
    """Answer as long as the process runs, whatever the state of its parts."""
    return Liveness(status="alive")


@router.get("/health/ready", summary="Is it ready?", responses=UNHEALTHY)
async def read_readiness(request: Request, response: Response) -> HealthRead:
    """Answer 503 while the station should get no traffic: its database is away, or it stops."""
    return await read_health(request, response)


@router.get(
    "/api/status",
    summary="Read the short status",
    dependencies=[Depends(may_read_metrics), Depends(documented_reader)],
)
async def read_status(request: Request) -> StatusRead:
    """Return a few numbers; also with the metrics token, or from this computer itself."""
    return service.status(request.app.state.station)


@router.get(
    "/metrics",
    summary="Read metrics",
    response_class=PlainTextResponse,
    dependencies=[Depends(may_read_metrics), Depends(documented_reader)],
    responses={200: {"content": {"text/plain": {"example": METRICS_EXAMPLE}}}},
)
async def read_metrics(request: Request) -> Response:
    """Return them for Prometheus; also with the metrics token, or from this computer itself."""
    content = request.app.state.request_metrics.exposition()
    return Response(content, media_type=CONTENT_TYPE_LATEST)


@api_router.get("/system/metrics", summary="Read the station's numbers")
async def read_system_metrics(request: Request, _caller: OrganizationReader) -> SystemMetrics:
    """Return numbers of the process, its doors and the store."""
    state = request.app.state
    return await service.system_metrics(
        state.station, requests_per_minute=state.request_metrics.requests_per_minute()
    )


@api_router.get("/system/version", summary="Read the version")
async def read_version(request: Request, _caller: OrganizationReader) -> VersionRead:
    """Return what runs: the station, the interpreter, the database."""
    return await service.version(request.app.state.station)


@router.get("/", summary="Read the front page")
async def read_front_page(request: Request) -> FrontPage:
    """Say what this is and where to go on."""
    settings = request.app.state.settings
    return FrontPage(
        name="Fieldstation",
        version=__version__,
        status="running",
        environment=settings.station.environment,
        documentation=Documentation(
            scalar="/docs", swagger="/swagger", redoc="/redoc", openapi="/openapi.json"
        ),
        api="/api/v1",
        health="/health",
    )
