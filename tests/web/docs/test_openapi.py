"""Everything the OpenAPI document must say of every operation and field; a gap is named."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from fieldstation.domains.identity.schemas.callers import DEVICE_SCOPES, USER_SCOPES
from fieldstation.main import ROUTERS
from fieldstation.web.docs.openapi import API_INFO, describe_api, operation_id
from tests.station_process import StationProcess

METHODS_WITH_BODY = {"post", "put", "patch"}
REQUEST_EXAMPLES_MIN = 3
SCOPES = USER_SCOPES | DEVICE_SCOPES


@pytest.fixture(scope="module")
def document(station: StationProcess) -> dict[str, Any]:
    answer = httpx2.get(f"{station.url}/openapi.json")
    assert answer.status_code == 200
    return answer.json()


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


def test_the_servers_come_from_the_public_url() -> None:
    app = FastAPI(**API_INFO, generate_unique_id_function=operation_id)
    for router, prefix in ROUTERS:
        app.include_router(router, prefix=prefix)

    described = describe_api(app, public_url="https://field.example.org")

    assert [server["url"] for server in described["servers"]] == ["https://field.example.org"]


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
        for status in refusals_of(operation)
        if status not in operation["responses"]
    ]

    assert "\n".join(gaps) == ""


def refusals_of(operation: dict[str, Any]) -> set[str]:
    found = {"429", "500", "503"}
    if operation.get("security"):
        found |= {"401", "403"}
    if "requestBody" in operation:
        found |= {"400", "413", "415", "422"}
    return found


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
