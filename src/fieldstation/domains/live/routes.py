"""The live sockets."""

from fastapi import APIRouter
from starlette.websockets import WebSocket

from fieldstation.core.errors import Busy, Forbidden, Invalid, NotFound, Unauthenticated
from fieldstation.domains.identity.schemas import Caller
from fieldstation.domains.live.access import (
    accepted_subprotocol,
    authenticate_socket,
    origin_is_allowed,
)
from fieldstation.domains.live.backfill import resume
from fieldstation.domains.live.cursor import parse_cursor
from fieldstation.domains.live.hub import Hub, Subscriber
from fieldstation.domains.live.sockets import (
    POLICY_VIOLATION,
    TRY_AGAIN_LATER,
    Feed,
    Sockets,
)

router = APIRouter()


@router.websocket("/ws")
async def live(websocket: WebSocket) -> None:
    """Everything new of the caller's organization."""
    await serve(websocket, device_ids=None, sensor_types=None)


@router.websocket("/ws/live-data")
async def live_data(websocket: WebSocket) -> None:
    """New readings, narrowed by ``device_id`` and ``sensor_type`` (each repeatable)."""
    await serve(
        websocket,
        device_ids=chosen(websocket, "device_id"),
        sensor_types=chosen(websocket, "sensor_type"),
    )


def chosen(websocket: WebSocket, name: str) -> frozenset[str] | None:
    values = websocket.query_params.getlist(name)
    return frozenset(value.lower() for value in values) if values else None


async def serve(
    websocket: WebSocket, *, device_ids: frozenset[str] | None, sensor_types: frozenset[str] | None
) -> None:
    """Admit or refuse, then feed until it ends."""
    sockets: Sockets = websocket.app.state.sockets
    hub: Hub = websocket.app.state.hub
    if not origin_is_allowed(websocket):
        await websocket.close(POLICY_VIOLATION)  # before accepting: the handshake answers 403
        return
    try:
        caller = await authenticate_socket(websocket, scope="telemetry:read")
        subscriber = subscribe(caller, sockets, device_ids=device_ids, sensor_types=sensor_types)
        since = websocket.query_params.get("since")
        begin = None if since is None else parse_cursor(since, node_id=hub.cursor.node_id)
    except (Unauthenticated, Forbidden, NotFound, Invalid, Busy) as error:
        await websocket.accept(accepted_subprotocol(websocket))
        code = TRY_AGAIN_LATER if isinstance(error, Busy) else POLICY_VIOLATION
        await websocket.close(code, error.detail[:120])
        return
    socket = sockets.admit(caller)  # before anything is awaited: a revocation must find it
    if socket is None:
        await websocket.accept(accepted_subprotocol(websocket))
        await websocket.close(POLICY_VIOLATION, "too many sockets")
        return
    try:
        await websocket.accept(accepted_subprotocol(websocket))
        store = websocket.app.state.store
        backlog = None if begin is None else resume(hub, store, subscriber, begin)
        await Feed(websocket, socket, subscriber, sockets, hub).run(backlog)
    finally:
        sockets.leave(socket)


def subscribe(
    caller: Caller,
    sockets: Sockets,
    *,
    device_ids: frozenset[str] | None,
    sensor_types: frozenset[str] | None,
) -> Subscriber:
    return Subscriber(
        organization_id=caller.organization_id,
        queue_frames_max=sockets.settings.queue_frames_max,
        device_ids=device_ids,
        sensor_types=sensor_types,
    )
