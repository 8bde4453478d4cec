"""Newest readings for callers and devices that are remembered: neither FastAPI nor a database."""

from starlette.requests import Request
from starlette.responses import Response

from fieldstation.domains.telemetry import service
from fieldstation.domains.telemetry.access import remembered_reader
from fieldstation.domains.telemetry.service import ReadingFilter
from fieldstation.web.bodies import JSON


async def latest_of_device(request: Request) -> Response | None:
    """Answer for a device; None with any parameter, and for whom or what nobody remembers."""
    scope = remembered_reader(request)
    state, device_id = request.app.state, request.path_params["device_id"]
    if scope is None or request.scope["query_string"]:
        return None
    if not state.known_devices.remembers(scope, device_id):
        return None
    wanted = ReadingFilter(device_ids=(device_id,))
    return Response(service.encode_latest(state.last_values, scope, wanted), media_type=JSON)


async def latest_across(request: Request) -> Response | None:
    """Answer across devices; None with any parameter, and for whom nobody remembers."""
    scope = remembered_reader(request)
    if scope is None or request.scope["query_string"]:
        return None
    found = service.encode_latest(request.app.state.last_values, scope, ReadingFilter())
    return Response(found, media_type=JSON)
