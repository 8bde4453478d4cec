"""Wires the application: middleware, problems, routes. It decides nothing."""

from functools import cache

from fastapi import APIRouter, FastAPI
from starlette.types import ASGIApp

from fieldstation import __version__
from fieldstation.adapters.mqtt_server import protocol as mqtt_protocol
from fieldstation.adapters.mqtt_server import websocket as mqtt
from fieldstation.domains.analytics import routes as analytics
from fieldstation.domains.devices import routes as devices
from fieldstation.domains.exports import routes as exports
from fieldstation.domains.identity import routes as identity
from fieldstation.domains.identity.recognition import recogniser
from fieldstation.domains.live import protocol as live_protocol
from fieldstation.domains.live import routes as live
from fieldstation.domains.retention import routes as retention
from fieldstation.domains.system import routes as system
from fieldstation.domains.telemetry import routes as telemetry
from fieldstation.runtime import Runtime
from fieldstation.web.allowed_methods import AllowedMethods
from fieldstation.web.bodies import BodyCheck
from fieldstation.web.docs import routes as docs
from fieldstation.web.docs.asyncapi import assemble
from fieldstation.web.docs.openapi import API_INFO, describe_api
from fieldstation.web.hot_route import HotRoutes
from fieldstation.web.idempotency import Idempotency
from fieldstation.web.middleware import FrontDoor, door_rules
from fieldstation.web.problems import install_problem_handlers
from fieldstation.web.rate_limits import RateGate, Recognise, RouteLimits
from fieldstation.web.routing import mount

ROUTERS: tuple[APIRouter, ...] = (
    telemetry.intake_router,
    telemetry.router,
    analytics.router,
    exports.router,
    retention.router,
    *devices.routers,
    *identity.routers,
    system.api_router,
    system.router,
    live.router,
    docs.router,
    mqtt.router,
)
CHANNELS = (*live_protocol.CHANNELS, *mqtt_protocol.CHANNELS)


def create_app(runtime: Runtime) -> ASGIApp:
    """Return the application of a started runtime, middleware included."""
    app = FastAPI(
        **API_INFO,
        version=__version__,
        openapi_url=None,
    )
    for name, component in runtime.components().items():
        setattr(app.state, name, component)
    app.state.allowed_methods = AllowedMethods(ROUTERS)
    install_problem_handlers(app)
    mount(app, ROUTERS)
    # Made when somebody asks first: a quarter of a second that no start needs to wait for.
    app.state.documents = cache(lambda: render_documents(app, runtime))
    recognise = recogniser(runtime.authenticator)
    served: ASGIApp = BodyCheck(app, routers=ROUTERS, recognise=recognise)
    served = HotRoutes(served, station=app, routers=ROUTERS)
    served = Idempotency(served, keys=runtime.idempotency, recognise=recognise, routers=ROUTERS)
    return FrontDoor(
        served,
        door_rules(runtime.settings),
        observe=runtime.request_metrics.observe,
        spans=runtime.spans,
        gate=rate_gate(runtime, recognise),
    )


def rate_gate(runtime: Runtime, recognise: Recognise) -> RateGate | None:
    """Return what limits requests, unless that is switched off."""
    settings = runtime.settings.limits
    if not settings.enabled:
        return None
    return RateGate(
        runtime.rate_counters,
        settings,
        routes=RouteLimits(ROUTERS),
        recognise=recognise,
    )


def render_documents(app: FastAPI, runtime: Runtime) -> docs.Documents:
    """Describe the API and the protocols before the station serves."""
    settings = runtime.settings
    http, mqtt = settings.http, settings.mqtt
    document = describe_api(app, routers=ROUTERS, settings=settings)
    protocols = assemble(
        CHANNELS,
        info=document["info"],
        public_url=settings.station.public_url,
        http_address=f"{http.host}:{http.port}",
        mqtt_address=f"{mqtt.host}:{mqtt.port}",
    )
    return docs.render_documents(document, protocols)
