"""Examples that a reader may copy: each has the shape that it is an example of."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from jsonschema import Draft202012Validator

from tests.station_process import StationProcess


@pytest.fixture(scope="module")
def document(station: StationProcess) -> dict[str, Any]:
    return httpx2.get(f"{station.url}/openapi.json").json()


def shown(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Yield where every example of a body stands, its schema and its value."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            bodies = {"body": operation.get("requestBody", {}), **operation["responses"]}
            for name, found in bodies.items():
                shared = found.get("$ref", "").rsplit("/", 1)[-1]
                part = document["components"]["responses"][shared] if shared else found
                for media in part.get("content", {}).values():
                    for value in values(media):
                        yield f"{method} {path} {name}", media["schema"], value


def values(media: dict[str, Any]) -> list[Any]:
    found = [example["value"] for example in media.get("examples", {}).values()]
    return [*found, media["example"]] if "example" in media else found


def test_every_example_has_the_shape_of_its_schema(document: dict[str, Any]) -> None:
    components = {"components": document["components"]}
    faults = [
        f"{where}: {fault.message[:150]}"
        for where, schema, value in shown(document)
        for fault in Draft202012Validator({**schema, **components}).iter_errors(value)
    ]

    assert "\n".join(faults) == ""
    assert len(list(shown(document))) > 300


def test_every_field_s_example_has_the_shape_of_the_field(document: dict[str, Any]) -> None:
    components = {"components": document["components"]}
    faults = [
        f"{model}.{name}: {fault.message[:150]}"
        for model, schema in document["components"]["schemas"].items()
        for name, field in schema.get("properties", {}).items()
        for value in field.get("examples", ())
        for fault in Draft202012Validator({**field, **components}).iter_errors(value)
    ]

    assert "\n".join(faults) == ""
