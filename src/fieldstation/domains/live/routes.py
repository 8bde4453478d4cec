"""The live sockets."""

from starlette.websockets import WebSocket

from fieldstation.core.errors import Busy, Forbidden, Invalid, NotFound, Unauthenticated
from fieldstation.domains.identity.schemas import Caller
from fieldstation.domains.live.access import (
    accepted_subprotocol,
    authenticate_socket,
    foreign_page,
    origin_is_allowed,
)
from fieldstation.domains.live.backfill import resume
from fieldstation.domains.live.cursor import parse_cursor
from fieldstation.domains.live.hub import Hub
from fieldstation.domains.live.sockets import (
    POLICY_VIOLATION,
    TRY_AGAIN_LATER,
    Feed,
    Sockets,
)
from fieldstation.domains.live.subscribers import Line, Subscriber
from fieldstation.web.routing import station_router
from fieldstation.web.websocket_line import LINE_EXTENSION

BATCH_MS_MAX = 10_000

router = station_router()


@router.websocket("/ws")
async def live(websocket: WebSocket) -> None:
    """Everything new of the caller's organization."""
    await serve(websocket)


@router.websocket("/ws/live-data")
async def live_data(websocket: WebSocket) -> None:
    """New readings, narrowed by ``device_id`` and ``sensor_type`` (each repeatable); with
    ``batch_ms`` many of them in one message."""
    await serve(websocket, narrowed=True)


def chosen(websocket: WebSocket, name: str) -> frozenset[str] | None:
    values = websocket.query_params.getlist(name)
    return frozenset(value.lower() for value in values) if values else None


async def serve(websocket: WebSocket, *, narrowed: bool = False) -> None:
    """Admit or refuse, then feed until it ends."""
    sockets: Sockets = websocket.app.state.sockets
    hub: Hub = websocket.app.state.hub
    if not origin_is_allowed(websocket):
        raise foreign_page()
    try:
        caller = await authenticate_socket(websocket, scope="telemetry:read")
        subscriber = subscriber_of(caller, websocket, sockets, narrowed=narrowed)
        since = websocket.query_params.get("since")
        begin = None if since is None else parse_cursor(since, node_id=hub.cursor.node_id)
        socket = sockets.admit(caller)
    except (Unauthenticated, Forbidden, NotFound, Invalid, Busy) as error:
        await websocket.accept(accepted_subprotocol(websocket))
        code = TRY_AGAIN_LATER if isinstance(error, Busy) else POLICY_VIOLATION
        await websocket.close(code, error.detail[:120])
        return
    try:
        await websocket.accept(accepted_subprotocol(websocket))
        backlog = None
        if begin is not None:
            readings_max = sockets.settings.resume_readings_max
            store = websocket.app.state.store
            backlog = resume(hub, store, subscriber, begin, readings_max=readings_max)
        await Feed(websocket, socket, subscriber, sockets, hub, line_of(websocket)).run(backlog)
    finally:
        sockets.leave(socket)


def subscriber_of(
    caller: Caller, websocket: WebSocket, sockets: Sockets, *, narrowed: bool
) -> Subscriber:
    """Read what the socket wants. Raises ``Invalid``."""
    return Subscriber(
        organization_id=caller.organization_id,
        queue_frames_max=sockets.settings.queue_frames_max,
        device_ids=chosen(websocket, "device_id") if narrowed else None,
        sensor_types=chosen(websocket, "sensor_type") if narrowed else None,
        batch_ms=batch_ms_of(websocket) if narrowed else 0,
    )


def batch_ms_of(websocket: WebSocket) -> int:
    """Read for how long readings are collected into one message; 0 is not at all.

    Raises ``Invalid``.
    """
    text = websocket.query_params.get("batch_ms", "0")
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= BATCH_MS_MAX):
        raise Invalid(f"batch_ms: use 0 to {BATCH_MS_MAX} milliseconds.")
    return int(text)


def line_of(websocket: WebSocket) -> Line | None:
    """Return the server's way to write frames that are encoded already, if it has one."""
    return websocket.scope.get("extensions", {}).get(LINE_EXTENSION)
