"""Examples: named bodies beside the models, and whole values put together from those of fields."""

from collections.abc import Mapping
from typing import Any

NAMES = "x-example-names"


def examples(**bodies: Any) -> dict[str, Any]:
    """Return the part of a model's JSON schema that holds example bodies, each with its name."""
    return {"examples": list(bodies.values()), NAMES: list(bodies)}


def named_examples(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> dict[str, Any]:
    """Return the example bodies of a schema as OpenAPI's named examples."""
    found: dict[str, Any] = {}
    for model in alternatives(schema, schemas):
        values = model.get("examples", ())
        names = model.get(NAMES, [f"example_{number}" for number in range(1, len(values) + 1)])
        for name, value in zip(names, values, strict=True):
            found[name] = {"summary": name.replace("_", " ").capitalize(), "value": value}
    return found


def alternatives(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the models that a schema stands for, references followed."""
    if "$ref" in schema:
        return alternatives(schemas[schema["$ref"].rsplit("/", 1)[-1]], schemas)
    either = schema.get("anyOf") or schema.get("oneOf")
    if either is None or "examples" in schema:
        return [schema]
    return [model for part in either for model in alternatives(part, schemas)]


def example_of_each(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> dict[str, Any]:
    """Return an example of every model that an answer may be."""
    return {
        model["title"]: {"summary": model["description"], "value": example_of(model, schemas)}
        for model in alternatives(schema, schemas)
    }


def example_of(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Any:
    """Return a value of a schema, from its own example or those of its fields.

    Raises ``LookupError`` where nothing says what a value looks like.
    """
    if "example" in schema:
        return schema["example"]
    for name in ("examples", "enum"):
        if schema.get(name):
            return schema[name][0]
    if "const" in schema:
        return schema["const"]
    if "$ref" in schema:
        return example_of(schemas[schema["$ref"].rsplit("/", 1)[-1]], schemas)
    return composed(schema, schemas)


def composed(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Any:
    for name in ("anyOf", "oneOf", "allOf"):
        if schema.get(name):
            return example_of(schema[name][0], schemas)
    if schema.get("type") == "array":
        return [example_of(schema["items"], schemas)]
    if "properties" in schema:
        return {name: example_of(part, schemas) for name, part in schema["properties"].items()}
    if schema.get("default") is not None:
        return schema["default"]
    if schema.get("type") == "boolean":
        return True
    raise LookupError(f"no example in {dict(schema)}")
