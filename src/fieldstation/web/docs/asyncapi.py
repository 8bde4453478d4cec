"""Puts the AsyncAPI 3 document together from channels that are described beside their code."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

SCHEMAS = "#/components/schemas/{model}"
LICENSE_URL = "https://www.apache.org/licenses/LICENSE-2.0"
Door = Literal["websocket", "mqtt"]
SERVERS: Mapping[Door, tuple[str, ...]] = {
    "websocket": ("websocket",),
    "mqtt": ("mqtt", "mqtt_websocket"),
}


@dataclass(frozen=True, slots=True)
class Message:
    """One kind of message; ``payload`` is its shape, ``examples`` are whole payloads."""

    name: str
    summary: str
    payload: type[BaseModel]
    examples: Sequence[Any]
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A variable part of an address, or of a WebSocket's query."""

    description: str
    example: str


@dataclass(frozen=True, slots=True)
class Channel:
    """A socket's path or an MQTT topic: what the station takes there and what it sends there."""

    name: str
    door: Door
    address: str
    description: str
    takes: Sequence[Message] = ()
    sends: Sequence[Message] = ()
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    query: Mapping[str, Parameter] = field(default_factory=dict)


def assemble(
    channels: Iterable[Channel],
    *,
    info: Mapping[str, Any],
    public_url: str | None,
    http_address: str,
    mqtt_address: str,
) -> dict[str, Any]:
    """Return the document; addresses are ``host:port``, the public URL wins over the first."""
    channels = tuple(channels)
    messages = {
        message.name: message
        for channel in channels
        for message in (*channel.takes, *channel.sends)
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            **{name: said for name, said in info.items() if name != "summary"},
            "license": {"name": info["license"]["name"], "url": LICENSE_URL},
        },
        "defaultContentType": "application/json",
        "servers": servers(public_url, http_address, mqtt_address),
        "channels": {channel.name: channel_object(channel) for channel in channels},
        "operations": dict(
            operation for channel in channels for operation in operations_of(channel)
        ),
        "components": {
            "messages": {name: message_object(message) for name, message in messages.items()},
            "schemas": schemas_of(message.payload for message in messages.values()),
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An access token or API key in the Authorization header.",
                },
                "ticket": {
                    "type": "httpApiKey",
                    "in": "query",
                    "name": "ticket",
                    "description": "A single-use ticket of `POST /api/v1/auth/ws-ticket`.",
                },
                "password": {
                    "type": "userPassword",
                    "description": (
                        "Username: device id, password: device key; or username: a user's e-mail"
                        " address, password: the user's API key."
                    ),
                },
            },
        },
    }


def servers(public_url: str | None, http_address: str, mqtt_address: str) -> dict[str, Any]:
    public = urlsplit(public_url or "")
    return {
        "websocket": {
            "host": public.netloc or http_address,
            "protocol": "wss" if public.scheme == "https" else "ws",
            "description": "Live sockets, on the port of the HTTP API.",
            "security": [reference("securitySchemes", name) for name in ("ticket", "bearer")],
        },
        "mqtt": {
            "host": mqtt_address,
            "protocol": "mqtt",
            "description": "The station's own MQTT server.",
            "security": [reference("securitySchemes", "password")],
        },
        "mqtt_websocket": {
            "host": public.netloc or http_address,
            "pathname": "/mqtt",
            "protocol": "wss" if public.scheme == "https" else "ws",
            "description": "The same MQTT server in binary messages; subprotocol `mqtt`.",
            "security": [reference("securitySchemes", "password")],
        },
    }


def channel_object(channel: Channel) -> dict[str, Any]:
    found: dict[str, Any] = {
        "address": channel.address,
        "description": channel.description,
        "servers": [{"$ref": f"#/servers/{server}"} for server in SERVERS[channel.door]],
        "messages": {
            message.name: reference("messages", message.name)
            for message in (*channel.takes, *channel.sends)
        },
    }
    if channel.parameters:
        found["parameters"] = {
            name: {"description": parameter.description, "examples": [parameter.example]}
            for name, parameter in channel.parameters.items()
        }
    if channel.query:
        properties = {
            name: {
                "type": "string",
                "description": parameter.description,
                "examples": [parameter.example],
            }
            for name, parameter in channel.query.items()
        }
        query = {"type": "object", "properties": properties}
        found["bindings"] = {"ws": {"method": "GET", "query": query, "bindingVersion": "0.1.0"}}
    return found


def operations_of(channel: Channel) -> Iterable[tuple[str, dict[str, Any]]]:
    """Yield what the station does on a channel: `receive` what clients send, `send` the rest."""
    for action, messages in (("receive", channel.takes), ("send", channel.sends)):
        if messages:
            names = ", ".join(message.name for message in messages)
            yield (
                f"{action}_{channel.name}",
                {
                    "action": action,
                    "channel": {"$ref": f"#/channels/{channel.name}"},
                    "summary": f"The station {action}s {names}.",
                    "messages": [
                        {"$ref": f"#/channels/{channel.name}/messages/{message.name}"}
                        for message in messages
                    ],
                },
            )


def message_object(message: Message) -> dict[str, Any]:
    return {
        "name": message.name,
        "summary": message.summary,
        "contentType": message.content_type,
        "payload": reference("schemas", message.payload.__name__),
        "examples": [{"payload": example} for example in message.examples],
    }


def schemas_of(models: Iterable[type[BaseModel]]) -> dict[str, Any]:
    unique = dict.fromkeys(models)
    _, found = models_json_schema([(model, "validation") for model in unique], ref_template=SCHEMAS)
    return dict(found["$defs"])


def reference(kind: str, name: str) -> dict[str, str]:
    return {"$ref": f"#/components/{kind}/{name}"}
