"""Everything the OpenAPI document must say of every operation and field; a gap is named."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from fieldstation.core.settings import read_settings
from fieldstation.domains.identity.schemas.callers import DEVICE_SCOPES, USER_SCOPES
from fieldstation.main import ROUTERS
from fieldstation.web.docs.openapi import API_INFO, describe_api
from fieldstation.web.routing import mount
from tests.station_process import StationProcess

METHODS_WITH_BODY = {"post", "put", "patch"}
REQUEST_EXAMPLES_MIN = 3
SCOPES = USER_SCOPES | DEVICE_SCOPES


@pytest.fixture(scope="module")
def document(station: StationProcess) -> dict[str, Any]:
    answer = httpx2.get(f"{station.url}/openapi.json")
    assert answer.status_code == 200
    return answer.json()


def describe(environment: dict[str, str]) -> dict[str, Any]:
    """Return the document of a station with these settings."""
    app = FastAPI(**API_INFO)
    mount(app, ROUTERS)
    return describe_api(app, routers=ROUTERS, settings=read_settings(environment))


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield f"{method.upper()} {path}", operation


def resolve(document: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference to where it leads."""
    while "$ref" in part:
        found: Any = document
        for name in part["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        part = found
    return part


def has_example(part: dict[str, Any]) -> bool:
    return "example" in part or bool(part.get("examples"))


def test_the_document_says_whose_api_it_is_and_where(document: dict[str, Any]) -> None:
    info = document["info"]

    assert document["openapi"].startswith("3.1")
    assert info["title"] == "Fieldstation"
    assert info["contact"]["name"]
    assert info["license"] == {"name": "Apache-2.0", "identifier": "Apache-2.0"}
    assert "**Limits:**" in info["description"]
    assert document["servers"][0]["url"]
    assert document["components"]["securitySchemes"]["bearerAuth"]["scheme"] == "bearer"


def test_the_servers_are_where_the_document_comes_from_and_the_public_url() -> None:
    described = describe({"API_PUBLIC_URL": "https://field.example.org"})

    urls = [server["url"] for server in described["servers"]]
    assert urls == ["/", "https://field.example.org"]


def test_the_document_says_how_many_requests_are_allowed() -> None:
    described = describe({"RATE_LIMIT_USER": "7/second", "RATE_LIMIT_FACTOR": "2"})

    said = described["info"]["description"]
    assert "12000/minute of a device, 14/second of a user, 200/minute of a client address" in said
    own = {
        name: operation["x-rate-limit"]
        for name, operation in operations(described)
        if "x-rate-limit" in operation
    }
    assert own["POST /api/v1/auth/register"] == "6/minute"
    assert own["POST /api/v1/auth/login"] == "10/minute"
    assert own["GET /api/v1/users/me"] == "120/minute"
    assert len(own) == 11


def test_every_tag_that_is_used_is_described(document: dict[str, Any]) -> None:
    described = {tag["name"] for tag in document["tags"] if tag["description"]}
    used = {tag for _, operation in operations(document) for tag in operation["tags"]}

    assert used == described


def test_every_operation_says_what_it_does_and_what_it_needs(document: dict[str, Any]) -> None:
    gaps = [
        f"{name}: {gap}"
        for name, operation in operations(document)
        for gap in operation_gaps(operation)
    ]

    assert "\n".join(gaps) == ""
    assert len(list(operations(document))) > 50


def operation_gaps(operation: dict[str, Any]) -> Iterator[str]:
    summary, description = operation.get("summary", ""), operation.get("description", "")
    if not summary:
        yield "no summary"
    if len(description.split("**Scope:**")[0].strip()) <= len(summary):
        yield "the description says no more than the summary"
    if len(operation.get("tags", ())) != 1:
        yield "not exactly one tag"
    scopes = operation.get("x-required-scope", "missing")
    if scopes == "missing" or "**Scope:**" not in description:
        yield "no scope"
    elif not set(scopes or ()) <= SCOPES:
        yield f"unknown scopes {scopes}"
    elif (scopes is None) != (operation.get("security") is None):
        yield "the scope and the security differ"


def test_operation_ids_are_unique(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for _, operation in operations(document)]

    assert len(ids) == len(set(ids))


def test_every_parameter_has_a_description_and_an_example(document: dict[str, Any]) -> None:
    gaps = [
        f"{name}: {parameter['name']}"
        for name, operation in operations(document)
        for parameter in (resolve(document, part) for part in operation.get("parameters", ()))
        if not parameter.get("description") or not has_example(parameter)
    ]

    assert "\n".join(gaps) == ""


def test_no_viewer_sends_an_optional_parameter_that_nobody_filled_in(
    document: dict[str, Any],
) -> None:
    filled = [
        f"{name}: {parameter['name']}"
        for name, operation in operations(document)
        for parameter in (resolve(document, part) for part in operation.get("parameters", ()))
        if not parameter["required"]
        and (
            "example" in parameter
            or has_example(parameter["schema"])
            or not all(shown["x-disabled"] for shown in parameter["examples"].values())
        )
    ]

    assert filled == []


def test_every_body_comes_with_three_examples(document: dict[str, Any]) -> None:
    gaps = [
        f"{name} ({media_type})"
        for name, operation in operations(document)
        if name.split()[0].lower() in METHODS_WITH_BODY
        for media_type, media in operation.get("requestBody", {}).get("content", {}).items()
        if len(media.get("examples", ())) < REQUEST_EXAMPLES_MIN
        or not all(example["summary"] for example in media["examples"].values())
    ]

    assert "\n".join(gaps) == ""


def test_every_response_has_a_description_and_an_example(document: dict[str, Any]) -> None:
    gaps = [
        f"{name} {status}: {gap}"
        for name, operation in operations(document)
        for status, part in operation["responses"].items()
        for gap in response_gaps(resolve(document, part), status)
    ]

    assert "\n".join(gaps) == ""


def response_gaps(response: dict[str, Any], status: str) -> Iterator[str]:
    if not response.get("description"):
        yield "no description"
    if status != "204" and not response.get("content"):
        yield "no content"
    for media_type, media in response.get("content", {}).items():
        if not media.get("schema"):
            yield f"{media_type} without a schema"
        if not has_example(media):
            yield f"{media_type} without an example"


def test_every_operation_says_how_it_refuses(document: dict[str, Any]) -> None:
    gaps = [
        f"{name}: no {status}"
        for name, operation in operations(document)
        for status in refusals_of(name, operation, parameters_of(document, operation))
        if status not in operation["responses"]
    ]

    assert "\n".join(gaps) == ""


def refusals_of(name: str, operation: dict[str, Any], parameters: set[str]) -> set[str]:
    found = {"429", "500", "503"}
    if operation.get("security"):
        found |= {"401", "403"}
    if "{" in name or "x-organization" in parameters:
        found.add("404")
    if not name.startswith("GET"):
        found |= {"400", "413"}
    if "requestBody" in operation:
        found |= {"415", "422"}
    if "idempotency-key" in parameters:
        found.add("409")
    if "if-match" in parameters:
        found.add("412")
    return found


def parameters_of(document: dict[str, Any], operation: dict[str, Any]) -> set[str]:
    resolved = (resolve(document, part) for part in operation.get("parameters", ()))
    return {parameter["name"].lower() for parameter in resolved}


def codes(document: dict[str, Any], operation: dict[str, Any], status: str) -> set[str]:
    """Return the error codes that are shown for a status."""
    answer = resolve(document, operation["responses"][status])
    return set(answer["content"]["application/problem+json"]["examples"])


def test_every_creation_takes_a_key_and_says_how_that_is_refused(document: dict[str, Any]) -> None:
    creating = {
        name: operation
        for name, operation in operations(document)
        if name.startswith("POST") and "201" in operation["responses"]
    }
    for name, operation in creating.items():
        assert "idempotency-key" in parameters_of(document, operation), name
        assert codes(document, operation, "409") >= {
            "idempotency_key_reused",
            "idempotency_unfinished",
            "idempotency_result_too_large",
        }, name
        assert "Idempotency-Replayed" in operation["responses"]["201"]["headers"], name
    assert len(creating) == 9


def test_every_change_may_say_what_it_saw(document: dict[str, Any]) -> None:
    changing = [
        (name, operation)
        for name, operation in operations(document)
        if name.split()[0] in {"PUT", "PATCH", "DELETE"}
    ]
    for name, operation in changing:
        assert "if-match" in parameters_of(document, operation), name
    assert len(changing) == 20


def test_every_single_object_carries_its_tag(document: dict[str, Any]) -> None:
    single = [
        (name, operation)
        for name, operation in operations(document)
        if (name.startswith("GET") and name.endswith(("}", "/me")))
        or (name.split()[0] in {"PUT", "PATCH"} and "204" not in operation["responses"])
    ]
    for name, operation in single:
        assert "ETag" in operation["responses"]["200"]["headers"], name
    assert len(single) == 17


def test_every_write_says_that_a_cookie_needs_an_origin(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        if operation.get("security") and not name.startswith("GET"):
            assert "csrf_failed" in codes(document, operation, "403"), name


def test_every_list_has_pages_and_says_where_it_counts_nothing(document: dict[str, Any]) -> None:
    lists = {
        name: parameters_of(document, operation)
        for name, operation in operations(document)
        if "next_cursor" in str(operation["responses"].get("200", {}).get("content", {}))
    }
    for name, parameters in lists.items():
        assert {"limit", "cursor"} <= parameters, name
        if "include_total" not in parameters:
            operation = document["paths"][name.split()[1]]["get"]
            assert "There is no total" in operation["description"], name
    assert len(lists) == 12


def test_readings_come_in_every_form_that_is_taken(document: dict[str, Any]) -> None:
    operation = document["paths"]["/api/v1/devices/{device_id}/readings"]["post"]

    assert set(operation["requestBody"]["content"]) == {
        "application/json",
        "application/cbor",
        "application/msgpack",
    }
    encodings = [p for p in operation["parameters"] if p.get("name") == "content-encoding"]
    assert encodings[0]["schema"]["enum"] == ["identity", "gzip", "deflate", "zstd"]


@pytest.mark.parametrize("path", ["/api/v1/readings", "/api/v1/devices/{device_id}/readings"])
def test_readings_are_answered_as_a_page_as_buckets_or_as_points(
    document: dict[str, Any], path: str
) -> None:
    answer = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]

    models = [part["$ref"].rsplit("/", 1)[-1] for part in answer["schema"]["anyOf"]]
    assert models == ["ReadingList", "BucketList", "PointList"]
    assert set(answer["examples"]) == set(models)


def test_removing_a_member_needs_more_than_leaving(document: dict[str, Any]) -> None:
    path = "/api/v1/organizations/{organization_id}/members/{user_id}"

    assert document["paths"][path]["delete"]["x-required-scope"] == ["org:admin", "org:read"]


def test_every_limit_says_what_is_left(document: dict[str, Any]) -> None:
    named = {"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"}
    for name, operation in operations(document):
        refused = resolve(document, operation["responses"]["429"])
        assert {"Retry-After", *named} <= set(refused["headers"]), name
        if "x-rate-limit" in operation:
            succeeded = next(s for s in operation["responses"] if s.startswith("2"))
            assert named <= set(operation["responses"][succeeded]["headers"]), name


def test_every_field_has_a_description_and_an_example(document: dict[str, Any]) -> None:
    gaps = [
        f"{model}.{name}: {gap}"
        for model, schema in document["components"]["schemas"].items()
        for name, field in schema.get("properties", {}).items()
        for gap in field_gaps(field)
    ]

    assert "\n".join(gaps) == ""


def field_gaps(field: dict[str, Any]) -> Iterator[str]:
    if not field.get("description"):
        yield "no description"
    if not has_example(field):
        yield "no example"


def test_every_model_says_what_it_is(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]

    assert [name for name, schema in schemas.items() if not schema.get("description")] == []
    assert not {"HTTPValidationError", "ValidationError"} & set(schemas)
