"""Error kinds as RFC 9457 problem details: the one table of the HTTP door."""

import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException as RoutingError
from starlette.responses import Response

from fieldstation.core import errors
from fieldstation.core.clock import SystemClock, us_to_rfc3339
from fieldstation.core.correlation import current_ids

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
STATUS_OF_KIND: Mapping[type[errors.StationError], int] = {
    errors.Malformed: 400,
    errors.Unauthenticated: 401,
    errors.QuotaExceeded: 402,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.PreconditionFailed: 412,
    errors.TooLarge: 413,
    errors.UnsupportedMedia: 415,
    errors.Invalid: 422,
    errors.TooManyRequests: 429,
    errors.Busy: 503,
}
ROUTING_ERRORS = {
    404: ("not_found", "There is nothing here."),
    405: ("method_not_allowed", "This path does not take this method; see the Allow header."),
    400: ("malformed", "The request cannot be read."),
}


def render_problem(
    status: int,
    *,
    code: str,
    detail: str,
    instance: str,
    members: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return a problem response; ``members`` join the standard ones."""
    correlation_id, request_id = current_ids()
    body = {
        "type": f"urn:fieldstation:error:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": instance,
        "error": code,
        "message": detail,
        "correlation_id": correlation_id,
        "request_id": request_id,
        "timestamp": us_to_rfc3339(SystemClock().now_us()),
        **(members or {}),
    }
    return Response(
        msgspec.json.encode(body), status_code=status, headers=headers, media_type=MEDIA_TYPE
    )


def render_error(error: errors.StationError, instance: str) -> Response:
    """Translate an error kind."""
    members = dict(error.members)
    if isinstance(error, errors.Invalid) and error.errors:
        members["errors"] = error.errors
    return render_problem(
        status_of(error),
        code=error.code,
        detail=error.detail,
        instance=instance,
        members=members,
        headers=headers_of(error),
    )


def status_of(error: errors.StationError) -> int:
    return next(
        (STATUS_OF_KIND[kind] for kind in type(error).__mro__ if kind in STATUS_OF_KIND), 500
    )


def headers_of(error: errors.StationError) -> dict[str, str]:
    if isinstance(error, errors.Unauthenticated):
        return {"WWW-Authenticate": "Bearer"}
    if isinstance(error, errors.Forbidden) and error.scope:
        challenge = f'Bearer error="insufficient_scope", scope="{error.scope}"'
        return {"WWW-Authenticate": challenge}
    if isinstance(error, errors.Busy | errors.TooManyRequests):
        return {"Retry-After": str(math.ceil(error.retry_after_s))}
    return {}


def install_problem_handlers(app: FastAPI) -> None:
    """Make every error of the application a problem response."""

    @app.exception_handler(errors.StationError)
    async def known_kind(request: Request, error: errors.StationError) -> Response:
        if status_of(error) == HTTPStatus.INTERNAL_SERVER_ERROR:
            log.error("unplaced_error_kind", kind=type(error).__name__, detail=error.detail)
        return render_error(error, request.url.path)

    @app.exception_handler(Exception)
    async def defect(request: Request, _error: Exception) -> Response:
        return render_crash(
            request.url.path
        )  # raised again behind it, and logged by the middleware

    @app.exception_handler(RequestValidationError)
    async def invalid_request(request: Request, error: RequestValidationError) -> Response:
        return render_error(validation_kind(error.errors()), request.url.path)

    @app.exception_handler(RoutingError)
    async def no_such_route(request: Request, error: RoutingError) -> Response:
        code, detail = ROUTING_ERRORS.get(error.status_code, ("malformed", str(error.detail)))
        headers = dict(error.headers or {})
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            headers = allow_header(request, headers)
        return render_problem(
            error.status_code,
            code=code,
            detail=detail,
            instance=request.url.path,
            headers=headers,
        )


def allow_header(request: Request, headers: dict[str, str]) -> dict[str, str]:
    """Name the methods of all routes of the path: the router knows only the first one's."""
    allowed = getattr(request.app.state, "allowed_methods", None)
    return headers if allowed is None else {"Allow": allowed.at(request.url.path)}


def validation_kind(found: Sequence[Any]) -> errors.StationError:
    """Tell a body that is not JSON (400) from values that are not allowed (422)."""
    if any(item["type"] == "json_invalid" for item in found):
        return errors.Malformed("The body is not valid JSON.")
    listed = [
        {"loc": list(item["loc"]), "msg": item["msg"], "type": item["type"]} for item in found
    ]
    first = listed[0] if listed else {"loc": [], "msg": "not allowed"}
    where = ".".join(str(part) for part in first["loc"])
    return errors.Invalid(f"{where}: {first['msg']}", errors=listed)


def render_crash(instance: str) -> Response:
    """Answer for a defect of ours; the log has the rest."""
    return render_problem(
        500,
        code="internal",
        detail="The station made a mistake; its log has the details under this correlation id.",
        instance=instance,
    )
