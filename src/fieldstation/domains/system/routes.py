"""Health, status, metrics, version and the front page."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from fieldstation import __version__
from fieldstation.domains.identity.access import Caller, require
from fieldstation.domains.system import service
from fieldstation.domains.system.access import may_read_metrics
from fieldstation.domains.system.schemas import (
    Health,
    HealthRead,
    StatusRead,
    SystemMetrics,
    VersionRead,
)

router = APIRouter(tags=["System"])
api_router = APIRouter(tags=["System"])

OrganizationReader = Annotated[Caller, Depends(require("org:read"))]


@api_router.get("/health", responses={503: {"model": HealthRead}})
async def read_health(request: Request, response: Response) -> HealthRead:
    """Return the state of every part; 503 only when the station cannot serve."""
    found = await service.health(request.app.state.station)
    if found.status is Health.UNHEALTHY:
        response.status_code = 503
    return found


@router.get("/health/live")
async def read_liveness() -> dict[str, str]:
    """Answer as long as the process runs."""
    return {"status": "alive"}


@router.get("/health/ready", responses={503: {"model": HealthRead}})
async def read_readiness(request: Request, response: Response) -> HealthRead:
    """Answer 503 while the station should get no traffic: its database is away, or it stops."""
    return await read_health(request, response)


@router.get("/api/status", dependencies=[Depends(may_read_metrics)])
async def read_status(request: Request) -> StatusRead:
    """Return the short status."""
    return service.status(request.app.state.station)


@router.get("/metrics", dependencies=[Depends(may_read_metrics)])
async def read_metrics(request: Request) -> Response:
    """Return the metrics for Prometheus."""
    content = request.app.state.request_metrics.exposition()
    return Response(content, media_type=CONTENT_TYPE_LATEST)


@api_router.get("/system/metrics")
async def read_system_metrics(request: Request, _caller: OrganizationReader) -> SystemMetrics:
    """Return numbers of the process, its doors and the store."""
    state = request.app.state
    return await service.system_metrics(
        state.station, requests_per_minute=state.request_metrics.requests_per_minute()
    )


@api_router.get("/system/version")
async def read_version(request: Request, _caller: OrganizationReader) -> VersionRead:
    """Return what runs."""
    return service.version(request.app.state.station)


@router.get("/")
async def read_front_page(request: Request) -> dict[str, Any]:
    """Say what this is and where to go on."""
    settings = request.app.state.settings
    return {
        "name": "Fieldstation",
        "version": __version__,
        "status": "running",
        "environment": settings.station.environment,
        "documentation": {"swagger": "/docs", "openapi": "/openapi.json"},
        "api": "/api/v1",
        "health": "/health",
    }
