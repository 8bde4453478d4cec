"""The parameters and headers that many operations of the OpenAPI document share."""

from collections.abc import Mapping
from typing import Any

PATH_PARAMETERS = {
    "device_id": ("The device's id.", "0198c0de-7a3b-7c11-9b51-3f5a6f2f6a20"),
    "group_id": ("The group's id.", "0198c0de-7a3b-7c11-9b51-3f5a6f2f6a50"),
    "export_id": ("The export's id.", "0198c0de-7a3b-7c11-9b51-3f5a6f2f6a40"),
    "key_id": ("The key's id, as lists show it.", "0198c0de-7a3b-7c11-9b51-3f5a6f2f6a10"),
    "organization_id": ("The organization's id.", "0198c0de-7a3b-7c11-9b51-3f5a6f2f6a02"),
    "user_id": ("The user's id.", "0198c0de-7a3b-7c11-9b51-3f5a6f2f6a01"),
}


def unsent_example(value: Any) -> dict[str, Any]:
    """Return an example that a viewer shows and sends only if the reader asks for it."""
    return {"example": {"value": value, "x-disabled": True}}


IDEMPOTENCY_PARAMETER = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key and body within 24 hours is done once and gets the first answer,"
    " without secrets that are shown once; with another body it is 409.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
    "examples": unsent_example("order-17"),
}
LIMIT_HEADERS = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
HEADERS: Mapping[str, dict[str, Any]] = {
    "ETag": {
        "description": "Names this state of the object; send it as `If-Match` with a change.",
        "schema": {"type": "string", "pattern": '^"[0-9a-f]{32}"$'},
        "example": '"5f2c0a9d1e7b4c3f8a6d2e1b0c9f8e7d"',
    },
    "Idempotency-Replayed": {
        "description": "`true` on an answer that was given to this `Idempotency-Key` before.",
        "schema": {"type": "string", "const": "true"},
        "example": "true",
    },
    "Retry-After": {
        "description": "Seconds to wait before trying again.",
        "schema": {"type": "integer", "minimum": 0},
        "example": 12,
    },
    "WWW-Authenticate": {
        "description": "How to authenticate, or which scope is missing.",
        "schema": {"type": "string"},
        "example": "Bearer",
    },
    "X-RateLimit-Limit": {
        "description": "Requests that are allowed in a window.",
        "schema": {"type": "integer", "minimum": 1},
        "example": 100,
    },
    "X-RateLimit-Remaining": {
        "description": "Requests that are left of them.",
        "schema": {"type": "integer", "minimum": 0},
        "example": 99,
    },
    "X-RateLimit-Reset": {
        "description": "When all of them are there again, in epoch seconds.",
        "schema": {"type": "integer"},
        "example": 1777636860,
    },
}
