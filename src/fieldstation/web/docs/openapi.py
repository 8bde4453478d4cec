"""Completes the OpenAPI document that FastAPI collects from the routes.

Routes and models say what only they know. What follows from that is added here: scopes from the
security they declare, refusals from a table, whole examples from those of fields. What cannot be
completed is left out: a station starts without it, and a test names the gap.
"""

from collections.abc import Iterator
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from fieldstation.core import limits
from fieldstation.web.docs.examples import NAMES, alternatives, example_of, named_examples
from fieldstation.web.docs.refusals import FaultyValue, Problem, common_responses

SCHEMAS = "#/components/schemas/{model}"
MIB = 1024 * 1024
DESCRIPTION = f"""
One self-hosted station for everything a team runs in the field: sensors, devices, readings.

**Start here:** `POST /api/v1/auth/register`, `POST /api/v1/auth/login`, then
`POST /api/v1/devices` gives a device and its key; with that,
`POST /api/v1/devices/{{device_id}}/readings` stores readings.
Sockets and MQTT are explained at [/docs/websocket](/docs/websocket).

**Credentials:** `Authorization: Bearer <token>` with an access token, a user API key (`fsu_…`) or a
device key (`fsd_…`). Each operation names the scope it needs; one of several is enough. A user of
several organizations names one in the header `X-Organization`, by id or slug; default: the first.

**Time** is RFC 3339 in UTC, with microseconds. **Errors** are `application/problem+json` (RFC 9457)
with a stable code in `error`.

**Limits:** bodies up to {limits.BODY_BYTES_MAX // MIB} MiB ({limits.INFLATED_BYTES_MAX // MIB} MiB
inflated), JSON up to {limits.JSON_DEPTH_MAX} levels deep, pages up to {limits.PAGE_ITEMS_MAX} items
({limits.PAGE_ITEMS_DEFAULT} if not said). What is too much is refused with 413, 422 or 429, never
cut silently. `X-RateLimit-Limit`, `-Remaining` and `-Reset` (epoch seconds) say how many requests
are left, and `Retry-After` when to come back.

**Changes:** single objects carry an `ETag`; a change with `If-Match` is refused with 412 when
somebody else was faster. A POST that creates may carry an `Idempotency-Key`.

**Tracing:** `X-Correlation-ID` of a request (1–128 of `A-Za-z0-9._-`) comes back and stands in
every log line; `X-Request-ID` is always new; `X-Process-Time` says how long it took.
"""
API_INFO: dict[str, Any] = {
    "title": "Fieldstation",
    "summary": "The API of a self-hosted station for sensors, devices and readings.",
    "description": DESCRIPTION.strip(),
    "contact": {"name": "The operators of this station"},
    "license_info": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
    "openapi_tags": [
        {"name": "Telemetry", "description": "Readings: sending them and asking for them."},
        {"name": "Devices", "description": "What measures: devices, their keys, heartbeats."},
        {"name": "Authentication", "description": "Accounts, sessions, tokens, API keys."},
        {"name": "Users", "description": "The people of an organization, and one's own profile."},
        {"name": "Organizations", "description": "Organizations and who belongs to them."},
        {"name": "System", "description": "How the station is: health, metrics, version."},
    ],
}
PATH_PARAMETERS = {
    "device_id": ("The device's id.", "0198c0de-7a3b-7c11-9b51-3f5a6f2f6a20"),
    "key_id": ("The key's id, as lists show it.", "0198c0de-7a3b-7c11-9b51-3f5a6f2f6a10"),
    "organization_id": ("The organization's id.", "0198c0de-7a3b-7c11-9b51-3f5a6f2f6a02"),
    "user_id": ("The user's id.", "0198c0de-7a3b-7c11-9b51-3f5a6f2f6a01"),
}
ORGANIZATION_PARAMETER = {
    "name": "X-Organization",
    "in": "header",
    "required": False,
    "description": "Id or slug of the organization to act in; default: the caller's first.",
    "schema": {"type": "string"},
    "example": "harbour-weather",
}

IDEMPOTENCY_PARAMETER = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key and body within 24 hours is done once and gets the first answer,"
    " without secrets that are shown once; with another body it is 409.",
    "schema": {"type": "string"},
    "example": "0198c0de-order-17",
}


def operation_id(route: APIRoute) -> str:
    """Name an operation for generated clients: its area and its function."""
    area = str(route.tags[0]).lower() if route.tags else "station"
    return area + "".join(word.capitalize() for word in route.name.split("_"))


def describe_api(app: FastAPI, *, public_url: str | None) -> dict[str, Any]:
    """Return the document, complete."""
    document = app.openapi()
    document["servers"] = [{"url": public_url or "/", "description": "This station."}]
    components = document["components"]
    schemas = components["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for model in (FaultyValue, Problem):
        schema = model.model_json_schema(ref_template=SCHEMAS)
        schema.pop("$defs", None)
        schemas[model.__name__] = schema
    components["responses"] = common_responses()
    components["parameters"] = {
        "Organization": ORGANIZATION_PARAMETER,
        "IdempotencyKey": IDEMPOTENCY_PARAMETER,
    }
    for path, method, operation in operations(document):
        complete_operation(operation, path, method, schemas)
    for schema in schemas.values():
        complete_fields(schema, schemas)
        schema.pop(NAMES, None)
    return document


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield every path, method and operation."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


def complete_operation(
    operation: dict[str, Any], path: str, method: str, schemas: dict[str, Any]
) -> None:
    operation["summary"] = sentence(operation["summary"])
    add_scope(operation)
    for parameter in operation.get("parameters", ()):
        complete_parameter(parameter, schemas)
    for media in operation.get("requestBody", {}).get("content", {}).values():
        media.setdefault("examples", named_examples(media["schema"], schemas))
    for status, found in operation["responses"].items():
        complete_response(found, status, schemas)
    add_refusals(operation, path, method)
    shared = operation.setdefault("parameters", [])
    if operation["x-required-scope"] and "{organization_id}" not in path:
        shared.append({"$ref": "#/components/parameters/Organization"})
    if method == "post" and "201" in operation["responses"]:
        shared.append({"$ref": "#/components/parameters/IdempotencyKey"})


def sentence(summary: str) -> str:
    """Write a summary that was made from a function's name as people would."""
    return summary.capitalize() if summary.istitle() else summary


def add_scope(operation: dict[str, Any]) -> None:
    """Say which scopes open an operation; any one of them does."""
    security = operation.get("security")
    if security is None:
        operation["x-required-scope"] = None
        note = "**Scope:** none; open to everybody."
    else:
        scopes = [scope for scheme in security for named in scheme.values() for scope in named]
        operation["x-required-scope"] = scopes
        named = " or ".join(f"`{scope}`" for scope in scopes)
        note = f"**Scope:** {named or 'none; any signed-in caller.'}"
    operation["description"] = f"{operation.get('description', '')}\n\n{note}"


def complete_parameter(parameter: dict[str, Any], schemas: dict[str, Any]) -> None:
    known = PATH_PARAMETERS.get(parameter["name"])
    if parameter["in"] == "path" and known is not None:
        parameter.setdefault("description", known[0])
        parameter.setdefault("example", known[1])
    if "example" not in parameter and "examples" not in parameter:
        with suppress(LookupError):
            parameter["example"] = example_of(parameter["schema"], schemas)


def complete_response(found: dict[str, Any], status: str, schemas: dict[str, Any]) -> None:
    if found["description"] in {"Successful Response", "Validation Error"}:
        found["description"] = HTTPStatus(int(status)).phrase
    for media in found.get("content", {}).values():
        if "example" not in media and not media.get("examples"):
            with suppress(LookupError):
                media["example"] = example_of(media.get("schema", {}), schemas)


def add_refusals(operation: dict[str, Any], path: str, method: str) -> None:
    """Add what follows from an operation's shape; what the route says itself stays."""
    responses = operation["responses"]
    if "HTTPValidationError" in str(responses.get("422", "")):
        del responses["422"]
    for status in expected_refusals(operation, path, method):
        responses.setdefault(str(status), {"$ref": f"#/components/responses/Refused{status}"})
    operation["responses"] = dict(sorted(responses.items()))


def expected_refusals(operation: dict[str, Any], path: str, method: str) -> Iterator[int]:
    secured = operation.get("security") is not None
    if secured:
        yield from (401, 403)
    if "{" in path or operation.get("x-required-scope"):
        yield 404
    if method in {"post", "put", "patch", "delete"}:
        yield from (400, 413)
    if any(parameter.get("name") == "if-match" for parameter in operation.get("parameters", ())):
        yield 412
    if "requestBody" in operation:
        yield 415
    if "requestBody" in operation or operation.get("parameters"):
        yield 422
    yield from (429, 500, 503)


def complete_fields(schema: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Give fields that are models, lists or choices what is said of their parts."""
    for part in schema.get("properties", {}).values():
        if "description" not in part:
            part["description"] = alternatives(part, schemas)[0].get("description", "")
        if "examples" not in part:
            with suppress(LookupError):
                part["examples"] = [example_of(part, schemas)]
