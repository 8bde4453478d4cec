"""Writes the page that explains the sockets and MQTT, its tables from the AsyncAPI document."""

import json
import re
from collections.abc import Iterable, Mapping
from html import escape
from importlib.resources import files
from typing import Any

CODE = re.compile(r"`([^`]+)`")


def explain(document: Mapping[str, Any]) -> str:
    """Return the page's content as HTML."""
    template = (files("fieldstation.web.docs") / "protocols.html").read_text()
    names = {"websocket": "sockets", "mqtt": "topics"}
    for server, place in names.items():
        sections = (
            section(document, channel)
            for channel in document["channels"].values()
            if {"$ref": f"#/servers/{server}"} in channel["servers"]
        )
        template = template.replace(f"<!-- {place} -->", "\n".join(sections))
    return template.replace("%mqtt%", escape(document["servers"]["mqtt"]["host"]))


def section(document: Mapping[str, Any], channel: Mapping[str, Any]) -> str:
    """Return what there is to say about one channel."""
    query = channel.get("bindings", {}).get("ws", {}).get("query", {}).get("properties", {})
    variables = {**channel.get("parameters", {}), **query}
    parts = [
        f"<h3><code>{escape(channel['address'])}</code></h3>",
        f"<p>{inline(channel['description'])}</p>",
        table(
            ("Parameter", "Meaning", "Example"),
            (
                (f"`{name}`", about["description"], f"`{about['examples'][0]}`")
                for name, about in variables.items()
            ),
        ),
        table(("Message", "Direction", "Meaning", "Example"), message_rows(document, channel)),
    ]
    return "\n".join(parts)


def message_rows(
    document: Mapping[str, Any], channel: Mapping[str, Any]
) -> Iterable[tuple[str, ...]]:
    for operation in document["operations"].values():
        if document["channels"][operation["channel"]["$ref"].split("/")[-1]] is not channel:
            continue
        direction = "to the station" if operation["action"] == "receive" else "from the station"
        for found in operation["messages"]:
            message = document["components"]["messages"][found["$ref"].split("/")[-1]]
            example = json.dumps(message["examples"][0]["payload"], ensure_ascii=False)
            yield f"`{message['name']}`", direction, message["summary"], f"`{example}`"


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    body = "".join(
        "<tr>" + "".join(f"<td>{inline(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    if not body:
        return ""
    heading = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    return f"<table><thead><tr>{heading}</tr></thead><tbody>{body}</tbody></table>"


def inline(text: str) -> str:
    """Escape a text and set what stands between back-ticks as code."""
    return CODE.sub(r"<code>\1</code>", escape(text))
