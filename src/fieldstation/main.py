"""Wires the application: middleware, problems, routes. It decides nothing."""

from fastapi import APIRouter, FastAPI
from starlette.types import ASGIApp

from fieldstation import __version__
from fieldstation.domains.devices import routes as devices
from fieldstation.domains.identity import routes as identity
from fieldstation.domains.live import routes as live
from fieldstation.domains.system import routes as system
from fieldstation.domains.telemetry import routes as telemetry
from fieldstation.runtime import Runtime
from fieldstation.web.aliases import Aliases
from fieldstation.web.bodies import BodyCheck
from fieldstation.web.hot_route import HotRoutes
from fieldstation.web.middleware import BodyLimit, Correlation, Crashes, Timing
from fieldstation.web.problems import install_problem_handlers

API = "/api/v1"
ROUTERS: tuple[tuple[APIRouter, str], ...] = (
    (telemetry.intake_router, API),
    (telemetry.router, API),
    (devices.router, API),
    *((router, API) for router in identity.routers),
    (system.api_router, API),
    (system.router, ""),
    (live.router, ""),
)


def create_app(runtime: Runtime) -> ASGIApp:
    """Return the application of a started runtime, middleware included."""
    app = FastAPI(
        title="Fieldstation",
        version=__version__,
        description="One self-hosted station for everything a team runs in the field.",
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        servers=server_list(runtime.settings.station.public_url),
    )
    for name, component in runtime.components().items():
        setattr(app.state, name, component)
    install_problem_handlers(app)
    for router, prefix in ROUTERS:
        app.include_router(router, prefix=prefix)
    app.openapi()
    served = HotRoutes(BodyCheck(app), station=app, routers=ROUTERS)
    return wrap(served, runtime)


def wrap(app: ASGIApp, runtime: Runtime) -> ASGIApp:
    """Put the middleware around the application, innermost first."""
    app = Aliases(app)
    app = BodyLimit(app)
    app = Crashes(app)
    app = Timing(
        app,
        observe=runtime.request_metrics.observe,
        slow_request_ms=runtime.settings.log.slow_request_ms,
    )
    return Correlation(app)


def server_list(public_url: str | None) -> list[dict[str, str]]:
    return [{"url": public_url or "/"}]
