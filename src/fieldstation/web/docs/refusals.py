"""The refusals that OpenAPI shows: one table by status, and those that single routes add.

Every example is a real error put through the same table that renders answers.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, Field

from fieldstation.core import errors
from fieldstation.core.errors import StationError
from fieldstation.core.limits import BODY_BYTES_MAX
from fieldstation.web.bodies import too_deep, too_large, too_many_values
from fieldstation.web.denials import bad_credential, foreign_origin, missing_scope
from fieldstation.web.docs.shared import LIMIT_HEADERS
from fieldstation.web.idempotency import result_too_large, reused_key, unfinished
from fieldstation.web.pagination import foreign_cursor
from fieldstation.web.problems import MEDIA_TYPE, headers_of, status_of
from fieldstation.web.sorting import foreign_order

INTERNAL = StationError(
    "The station made a mistake; its log has the details under this correlation id."
)
INVALID = errors.Invalid(
    "body.name: Field required",
    errors=[{"loc": ["body", "name"], "msg": "Field required", "type": "missing"}],
)
MISSING_SCOPE = missing_scope("devices:write")


@dataclass(frozen=True, slots=True)
class Common:
    """A refusal that many operations share."""

    status: int
    description: str
    errors: tuple[StationError, ...]


COMMON: Mapping[str, Common] = {
    "Malformed": Common(
        400, "The request cannot be read.", (errors.Malformed("The body is not valid JSON."),)
    ),
    "Unauthenticated": Common(
        401, "No credential, or one that is not valid (any more).", (bad_credential(),)
    ),
    "Forbidden": Common(403, "The caller may not do this.", (MISSING_SCOPE,)),
    "ForbiddenWrite": Common(403, "The caller may not do this.", (MISSING_SCOPE, foreign_origin())),
    "NotFound": Common(
        404,
        "Missing, or another organization's: the two look the same.",
        (errors.NotFound("There is no such thing in this organization."),),
    ),
    "RepeatedKey": Common(
        409,
        "The `Idempotency-Key` was used before.",
        (reused_key(), unfinished(), result_too_large()),
    ),
    "Changed": Common(
        412,
        "The object is no longer what `If-Match` names.",
        (
            errors.PreconditionFailed(
                "This was changed since it was read; read it again and repeat the change."
            ),
        ),
    ),
    "TooLarge": Common(
        413,
        "The body is over a limit of size or depth.",
        (too_large(BODY_BYTES_MAX), too_deep("JSON"), too_many_values()),
    ),
    "UnsupportedMedia": Common(
        415,
        "A content type or encoding that is not read here.",
        (errors.UnsupportedMedia("Content-Encoding br is not known; use gzip."),),
    ),
    "Invalid": Common(422, "Readable, but with values that are not allowed.", (INVALID,)),
    "InvalidList": Common(
        422,
        "Readable, but with values that are not allowed.",
        (INVALID, foreign_cursor(), foreign_order(("created_at", "name"))),
    ),
    "TooManyRequests": Common(
        429,
        "Too many requests; come back after `Retry-After` seconds.",
        (errors.TooManyRequests("Too many requests; wait and try again.", retry_after_s=12),),
    ),
    "Mistake": Common(500, "A mistake of the station.", (INTERNAL,)),
    "Busy": Common(
        503,
        "The station cannot take this now and stored nothing of it.",
        (errors.Busy("The database is away; try again.", retry_after_s=1),),
    ),
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
    for status in dict.fromkeys(map(status_of, found)):
        by_status[status] = response(status, (one for one in found if status_of(one) == status))
    return by_status


def common_responses() -> dict[str, dict[str, Any]]:
    """Return the table as OpenAPI's shared responses."""
    return {
        name: response(common.status, common.errors, common.description)
        for name, common in COMMON.items()
    }


def add_common(responses: dict[str, Any], name: str) -> None:
    """Let an operation refuse what many refuse, beside what it refuses itself with that status."""
    common = COMMON[name]
    own = responses.setdefault(str(common.status), {"$ref": f"#/components/responses/{name}"})
    shown = own.get("content", {}).get(MEDIA_TYPE)
    if shown is not None:
        several = {name: value for error in common.errors for name, value in example(error).items()}
        shown["examples"] = {**several, **shown["examples"]}


def response(
    status: int, found: Iterable[StationError], description: str | None = None
) -> dict[str, Any]:
    """Return one OpenAPI response with the errors as its examples."""
    found = tuple(found)
    described = (common.description for common in COMMON.values() if common.status == status)
    names = [name for error in found for name in headers_of(error)]
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        names += LIMIT_HEADERS
    answer: dict[str, Any] = {
        "description": description or next(described, HTTPStatus(status).phrase),
        "content": {
            MEDIA_TYPE: {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "examples": {
                    name: shown for error in found for name, shown in example(error).items()
                },
            }
        },
    }
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
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
