"""The refusals that OpenAPI shows: one table by status, and those that single routes add.

Every example is a real error put through the same table that renders answers.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, Field

from fieldstation.core import errors
from fieldstation.core.errors import StationError
from fieldstation.web.problems import MEDIA_TYPE, headers_of, status_of

INTERNAL = StationError(
    "The station made a mistake; its log has the details under this correlation id."
)
BEARER = errors.Unauthenticated(
    "The token is missing or not valid (any more); log in or use another key."
)
INVALID = errors.Invalid(
    "body.name: Field required",
    errors=[{"loc": ["body", "name"], "msg": "Field required", "type": "missing"}],
)
COMMON: Mapping[int, tuple[str, StationError]] = {
    400: ("The request cannot be read.", errors.Malformed("The body is not valid JSON.")),
    401: ("No credential, or one that is not valid (any more).", BEARER),
    403: (
        "The caller may not do this.",
        errors.Forbidden(
            "This needs the scope devices:write, which the caller does not have.",
            scope="devices:write",
        ),
    ),
    404: (
        "Missing, or another organization's: the two look the same.",
        errors.NotFound("There is no such thing in this organization."),
    ),
    412: (
        "The object is no longer what `If-Match` names.",
        errors.PreconditionFailed(
            "This was changed since it was read; read it again and repeat the change."
        ),
    ),
    413: (
        "The body is over a limit of size or depth.",
        errors.TooLarge("The body is larger than 10 MiB; send it in parts."),
    ),
    415: (
        "A content type or encoding that is not read here.",
        errors.UnsupportedMedia("Content-Encoding br is not known; use gzip."),
    ),
    422: ("Readable, but with values that are not allowed.", INVALID),
    429: (
        "Too many requests; come back after `Retry-After` seconds.",
        errors.TooManyRequests("Too many requests; wait and try again.", retry_after_s=12),
    ),
    500: ("A mistake of the station.", INTERNAL),
    503: (
        "The station cannot take this now and stored nothing of it.",
        errors.Busy("The database is away; try again.", retry_after_s=1),
    ),
}
HEADERS: Mapping[str, dict[str, Any]] = {
    "Retry-After": {
        "description": "Seconds to wait before trying again.",
        "schema": {"type": "integer"},
        "example": 12,
    },
    "WWW-Authenticate": {
        "description": "How to authenticate, or which scope is missing.",
        "schema": {"type": "string"},
        "example": "Bearer",
    },
}


class FaultyValue(BaseModel):
    """One value that is not allowed."""

    loc: list[str | int] = Field(
        description="Where it is: `body`, `query` or `path`, then the names that lead to it.",
        examples=[["body", "name"]],
    )
    msg: str = Field(description="What is wrong with it.", examples=["Field required"])
    type: str = Field(description="The kind of fault, for programs.", examples=["missing"])


class Problem(BaseModel):
    """Why a request was refused (RFC 9457); some kinds add members of their own."""

    type: str = Field(
        description="A URN of the error code.", examples=["urn:fieldstation:error:not_found"]
    )
    title: str = Field(description="The status in words.", examples=["Not Found"])
    status: int = Field(description="The HTTP status.", examples=[404])
    detail: str = Field(
        description="One sentence that says what to do.",
        examples=["There is no such thing in this organization."],
    )
    instance: str = Field(
        description="The path that was asked for.",
        examples=["/api/v1/devices/0198c0de-7a3b-7c11-9b51-3f5a6f2f6a20"],
    )
    error: str = Field(description="A stable code, for programs.", examples=["not_found"])
    message: str = Field(
        description="The same as `detail`.",
        examples=["There is no such thing in this organization."],
    )
    correlation_id: str = Field(
        description="Follows the request through the logs; from `X-Correlation-ID` if sent.",
        examples=["6a5d1710-b380-4876-9da6-c4da28976883"],
    )
    request_id: str = Field(
        description="Names this one request.", examples=["fc1fed0b-644e-4edd-9d20-04a90b2689c3"]
    )
    timestamp: datetime = Field(
        description="When it was refused.", examples=["2026-05-01T12:00:00.000000Z"]
    )
    retry_after: int | None = Field(
        default=None, description="Only with 429 and 503: seconds to wait.", examples=[12]
    )
    errors: list[FaultyValue] | None = Field(
        default=None,
        description="Only with 422: every value that is not allowed.",
        examples=[[{"loc": ["body", "name"], "msg": "Field required", "type": "missing"}]],
    )


def refuses(*found: StationError) -> dict[int | str, dict[str, Any]]:
    """Return what a route refuses beyond the common table, for its ``responses``."""
    by_status: dict[int | str, dict[str, Any]] = {}
    for error in found:
        status = status_of(error)
        named = by_status.setdefault(status, response(status, ()))
        named["content"][MEDIA_TYPE]["examples"].update(example(error))
    return by_status


def common_responses() -> dict[str, dict[str, Any]]:
    """Return the table as OpenAPI's shared responses."""
    return {f"Refused{status}": response(status, [error]) for status, (_, error) in COMMON.items()}


def response(status: int, found: Iterable[StationError]) -> dict[str, Any]:
    """Return one OpenAPI response with the errors as its examples."""
    examples = {name: shown for error in found for name, shown in example(error).items()}
    described = COMMON[status][0] if status in COMMON else HTTPStatus(status).phrase
    answer: dict[str, Any] = {
        "description": described,
        "content": {
            MEDIA_TYPE: {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "examples": examples,
            }
        },
    }
    sample = COMMON[status][1] if status in COMMON else INTERNAL
    headers = {name: HEADERS[name] for name in headers_of(sample)}
    return {**answer, "headers": headers} if headers else answer


def example(error: StationError) -> dict[str, dict[str, Any]]:
    """Return an error as it is answered, under its code."""
    status = status_of(error)
    value: dict[str, Any] = {
        "type": f"urn:fieldstation:error:{error.code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": error.detail,
        "instance": "/api/v1/devices",
        "error": error.code,
        "message": error.detail,
        "correlation_id": "6a5d1710-b380-4876-9da6-c4da28976883",
        "request_id": "fc1fed0b-644e-4edd-9d20-04a90b2689c3",
        "timestamp": "2026-05-01T12:00:00.000000Z",
        **error.members,
    }
    if isinstance(error, errors.Invalid) and error.errors:
        value["errors"] = error.errors
    return {error.code: {"summary": error.detail, "value": value}}
