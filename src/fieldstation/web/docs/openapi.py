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

from fieldstation.core import limits as fixed
from fieldstation.core.settings import LimitSettings, Settings
from fieldstation.web.docs.examples import (
    NAMES,
    alternatives,
    example_of,
    example_of_each,
    named_examples,
)
from fieldstation.web.docs.refusals import FaultyValue, Problem, add_common, common_responses
from fieldstation.web.docs.shared import (
    HEADERS,
    IDEMPOTENCY_PARAMETER,
    LIMIT_HEADERS,
    PATH_PARAMETERS,
    unsent_example,
)
from fieldstation.web.etags import tagging
from fieldstation.web.rate_limits import declared_limit
from fieldstation.web.routing import Routers, http_routes

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

**Limits:** readings in bodies up to {fixed.BODY_BYTES_MAX // MIB} MiB
({fixed.INFLATED_BYTES_MAX // MIB} MiB inflated), everything else up to
{fixed.ROUTE_BODY_BYTES_MAX // MIB} MiB with {fixed.ROUTE_BODY_VALUES_MAX:,} values, JSON up to
{fixed.JSON_DEPTH_MAX} levels deep, pages up to {fixed.PAGE_ITEMS_MAX} items
({fixed.PAGE_ITEMS_DEFAULT} if not said). What is too much is refused with 413, 422 or 429, never
cut silently. `X-RateLimit-Limit`, `-Remaining` and `-Reset` (epoch seconds) say how many requests
are left, and `Retry-After` when to come back.

**Lists** come in pages: `limit`, `cursor` (the `next_cursor` of the page before) and, where it does
not cost a scan, `include_total`; filters and `sort` are named at each list.

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
        {"name": "Analytics", "description": "How what is measured goes: trends."},
        {"name": "Exports", "description": "Readings as files: CSV, JSON Lines, Parquet, XLSX."},
        {"name": "Retention", "description": "For how long readings and their rollups are kept."},
        {
            "name": "Devices",
            "description": "What measures: devices, groups, keys, heartbeats.",
        },
        {"name": "Authentication", "description": "Accounts, sessions, tokens, API keys."},
        {"name": "Users", "description": "The people of an organization, and one's own profile."},
        {"name": "Organizations", "description": "Organizations and who belongs to them."},
        {"name": "System", "description": "How the station is: health, metrics, version."},
    ],
}


def describe_api(app: FastAPI, *, routers: Routers, settings: Settings) -> dict[str, Any]:
    """Return the document, complete."""
    document = app.openapi()
    document["servers"] = servers(settings.station.public_url)
    document["info"]["description"] += f"\n\n{limits_in_words(settings.limits)}"
    components = document["components"]
    schemas = components["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for model in (FaultyValue, Problem):
        schema = model.model_json_schema(ref_template=SCHEMAS)
        schema.pop("$defs", None)
        schemas[model.__name__] = schema
    components["responses"] = common_responses()
    components["headers"] = dict(HEADERS)
    components["parameters"] = {"IdempotencyKey": IDEMPOTENCY_PARAMETER}
    routes = routes_by_operation(routers)
    for path, method, operation in operations(document):
        complete_operation(operation, path, method, schemas)
        add_headers(operation, routes[method, path])
        add_limit(operation, routes[method, path], settings.limits)
    for schema in schemas.values():
        complete_fields(schema, schemas)
        schema.pop(NAMES, None)
    return document


def servers(public_url: str | None) -> list[dict[str, str]]:
    """Name the origin of the document first: a page that shows it may try requests only there."""
    here = {"url": "/", "description": "This station, where this document comes from."}
    if public_url is None:
        return [here]
    return [here, {"url": public_url, "description": "This station, as everybody reaches it."}]


def limits_in_words(limits: LimitSettings) -> str:
    """Say how many requests are allowed where an operation names no limit of its own."""
    if not limits.enabled:
        return "**Requests** are not limited on this station."
    device, user, address = (
        limit.times(limits.factor) for limit in (limits.device, limits.user, limits.address)
    )
    return (
        f"**Requests:** {device} of a device, {user} of a user, {address} of a client address"
        " without a valid token; operations with a limit of their own name it."
    )


def routes_by_operation(routers: Routers) -> dict[tuple[str, str], APIRoute]:
    """Return the route of every method (in lower case) and path."""
    return {
        (method.lower(), route.path_format): route
        for route in http_routes(routers)
        for method in route.methods or ()
    }


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
    complete_body(operation.get("requestBody", {}).get("content", {}), schemas)
    for status, found in operation["responses"].items():
        complete_response(found, status, schemas)
    add_refusals(operation, path, method)
    if creates(operation, method):
        shared = operation.setdefault("parameters", [])
        shared.append({"$ref": "#/components/parameters/IdempotencyKey"})


def creates(operation: dict[str, Any], method: str) -> bool:
    return method == "post" and "201" in operation["responses"]


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


def add_limit(operation: dict[str, Any], route: APIRoute, limits: LimitSettings) -> None:
    """Name a limit that is the operation's own."""
    own = declared_limit(route)
    if own is None or not limits.enabled:
        return
    whom = "a client address" if own.by_address else "a user or device, else a client address"
    operation["x-rate-limit"] = str(own.limit.times(limits.factor))
    operation["description"] += f"\n\n**Limit:** {operation['x-rate-limit']} for {whom}."


def add_headers(operation: dict[str, Any], route: APIRoute) -> None:
    """Name the headers of what an operation answers when it succeeds."""
    names = list(LIMIT_HEADERS) if declared_limit(route) is not None else []
    if any(dependency.call is tagging for dependency in route.dependant.dependencies):
        names.append("ETag")
    for status, answer in operation["responses"].items():
        if status.startswith("2"):
            replayed = ["Idempotency-Replayed"] if status == "201" else []
            headers = {
                name: {"$ref": f"#/components/headers/{name}"} for name in (*names, *replayed)
            }
            if headers:
                answer["headers"] = headers


def complete_parameter(parameter: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Say what a parameter is, with an example; of an optional one, an example that is not sent."""
    known = PATH_PARAMETERS.get(parameter["name"])
    schema = parameter["schema"] = without_null(parameter["schema"])
    if parameter["in"] == "path" and known is not None:
        parameter.setdefault("description", known[0])
        parameter["example"] = known[1]
        schema["format"] = "uuid"
        return
    with suppress(LookupError):
        shown = parameter.pop("example", None) or example_of(schema, schemas)
        parameter["examples"] = unsent_example(shown)
        schema.pop("examples", None)


def without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a parameter that may be left out: no text in an address is null."""
    either = [part for part in schema.get("anyOf", ()) if part != {"type": "null"}]
    if not either:
        return schema
    rest = {name: part for name, part in schema.items() if name != "anyOf"}
    return {**either[0], **rest} if len(either) == 1 else {**rest, "anyOf": either}


def complete_body(content: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Give every form of a body its examples; what is only named is another form of the JSON."""
    for media in content.values():
        media.setdefault("schema", content.get("application/json", media).get("schema"))
        media.setdefault("examples", named_examples(media["schema"], schemas))


def complete_response(found: dict[str, Any], status: str, schemas: dict[str, Any]) -> None:
    if found["description"] in {"Successful Response", "Validation Error"}:
        found["description"] = HTTPStatus(int(status)).phrase
    for media in found.get("content", {}).values():
        schema = media.get("schema", {})
        if "example" in media or media.get("examples"):
            continue
        if "anyOf" in schema:
            media["examples"] = example_of_each(schema, schemas)
            continue
        with suppress(LookupError):
            media["example"] = example_of(schema, schemas)


def add_refusals(operation: dict[str, Any], path: str, method: str) -> None:
    """Add what follows from an operation's shape to what the route says itself."""
    responses = operation["responses"]
    if "HTTPValidationError" in str(responses.get("422", "")):
        del responses["422"]
    for name in (
        *refusals_of_callers(operation, path, method),
        *refusals_of_changes(operation, method),
        *refusals_of_input(operation),
        "TooManyRequests",
        "Mistake",
        "Busy",
    ):
        add_common(responses, name)
    operation["responses"] = dict(sorted(responses.items()))


def refusals_of_callers(operation: dict[str, Any], path: str, method: str) -> Iterator[str]:
    if operation.get("security") is not None:
        yield "Unauthenticated"
        yield "Forbidden" if method == "get" else "ForbiddenWrite"
    if "{" in path or "x-organization" in parameter_names(operation):
        yield "NotFound"


def refusals_of_changes(operation: dict[str, Any], method: str) -> Iterator[str]:
    if method != "get":
        yield from ("Malformed", "TooLarge")
    if creates(operation, method):
        yield "RepeatedKey"
    if "if-match" in parameter_names(operation):
        yield "Changed"


def refusals_of_input(operation: dict[str, Any]) -> Iterator[str]:
    if "requestBody" in operation:
        yield "UnsupportedMedia"
    if "requestBody" in operation or operation.get("parameters"):
        yield "InvalidList" if "cursor" in parameter_names(operation) else "Invalid"


def parameter_names(operation: dict[str, Any]) -> set[str]:
    return {parameter["name"].lower() for parameter in operation.get("parameters", ())}


def complete_fields(schema: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Give fields that are models, lists or choices what is said of their parts."""
    for part in schema.get("properties", {}).values():
        if "description" not in part:
            part["description"] = alternatives(part, schemas)[0].get("description", "")
        if "examples" not in part:
            with suppress(LookupError):
                part["examples"] = [example_of(part, schemas)]
