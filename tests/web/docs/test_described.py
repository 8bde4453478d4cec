"""A real station takes what its document offers, and answers and refuses as the document says."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import httpx2
import pytest
from jsonschema import Draft202012Validator

from tests.clients import StationClient
from tests.station_process import StationProcess
from tests.web.docs.prepared_requests import bodiless, examples, prepared, with_ids

PROBLEM = "application/problem+json"
ALWAYS_SENT = {"ETag", "Retry-After", "WWW-Authenticate", "X-RateLimit-Limit"}
LOGOUT = "/api/v1/auth/logout"
NOBODY_S_ID = "0198c0de-0000-7000-8000-000000000000"


@pytest.fixture(scope="module")
def document(station: StationProcess) -> dict[str, Any]:
    return httpx2.get(f"{station.url}/openapi.json").json()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


def faults(document: dict[str, Any], method: str, path: str, answer: httpx2.Response) -> list[str]:
    """Return what the document does not say of an answer."""
    status = str(answer.status_code)
    described = document["paths"][path][method]["responses"].get(status)
    where = f"{method} {path} {status}"
    if described is None:
        return [f"{where} is not described: {answer.text[:300]}"]
    if "$ref" in described:
        described = document["components"]["responses"][described["$ref"].rsplit("/", 1)[-1]]
    missing = [name for name in described.get("headers", ()) if name not in answer.headers]
    found = [f"{where}: no header {name}" for name in missing if name in ALWAYS_SENT]
    if not answer.content:
        return found if "content" not in described else [*found, f"{where}: no content"]
    media_type = answer.headers["content-type"].partition(";")[0]
    media = described["content"].get(media_type)
    if media is None:
        return [*found, f"{where}: {media_type} is not described"]
    if media_type == PROBLEM and answer.json()["error"] not in media["examples"]:
        found.append(f"{where}: {answer.json()['error']} is not among the examples")
    if media_type.endswith("json"):
        schema = Draft202012Validator({**media["schema"], "components": document["components"]})
        found += [f"{where}: {fault.message[:200]}" for fault in schema.iter_errors(answer.json())]
    return found


def test_every_example_of_a_request_is_accepted_and_answered_as_described(
    document: dict[str, Any], station: StationProcess
) -> None:
    found = []
    for (method, path), several in groupby(examples(document), key=lambda example: example[:2]):
        with StationClient(station.url) as client:
            client.sign_up()
            for example in several:
                answer = client.http.send(prepared(client, example))
                refused = [answer.text[:300]] if answer.status_code >= 300 else []
                what = " ".join(example[2:4])
                found += [
                    f"{what}: {fault}"
                    for fault in (*refused, *faults(document, method, path, answer))
                ]

    assert "\n".join(found) == ""


def test_every_operation_without_a_body_succeeds_as_described(
    document: dict[str, Any], station: StationProcess
) -> None:
    found = []
    for method, path, operation in operations(document):
        if "requestBody" in operation:
            continue
        with StationClient(station.url) as client:
            answer = client.sign_up().http.send(bodiless(client, method, path))
        refused = [f"{path}: {answer.text[:300]}"] if answer.status_code >= 300 else []
        found += [*refused, *faults(document, method, path, answer)]

    assert "\n".join(found) == ""


REFUSED: dict[str, tuple[dict[str, str], bytes | None, int]] = {
    "nobody": ({"Authorization": ""}, b"{}", 401),
    "another organization": ({"X-Organization": NOBODY_S_ID}, b"{}", 404),
    "no JSON": ({}, b"{", 400),
    "an unknown field": ({}, b'{"what": 1}', 422),
    "another state": ({"If-Match": '"0"'}, None, 404),
    "a key that is no key": ({"Idempotency-Key": "a b"}, b"{}", 400),
}
"""Headers and body of a request, and a status that some operations must answer."""


@pytest.mark.parametrize("what", REFUSED)
def test_every_refusal_is_described(
    document: dict[str, Any], client: StationClient, what: str
) -> None:
    headers, content, status = REFUSED[what]
    headers = {"Content-Type": "application/json", **headers}
    found, statuses = list[str](), set[int]()
    for method, path, _operation in operations(document):
        if path == LOGOUT:
            continue
        address = with_ids(path, [NOBODY_S_ID] * path.count("{"))
        body = None if method == "get" else content
        answer = client.http.request(method, address, content=body, headers=headers)
        statuses.add(answer.status_code)
        found += faults(document, method, path, answer)

    assert "\n".join(found) == ""
    assert status in statuses


def test_a_change_of_another_state_is_refused_as_described(
    document: dict[str, Any], client: StationClient
) -> None:
    found = []
    for method, path, _operation in operations(document):
        if method == "delete":
            request = bodiless(client, method, path)
            request.headers["If-Match"] = '"0"'
            answer = client.http.send(request)
            found += [] if answer.status_code == 412 else [f"{path}: {answer.text[:300]}"]
            found += faults(document, method, path, answer)

    assert "\n".join(found) == ""
