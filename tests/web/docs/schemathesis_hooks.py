"""What Schemathesis cannot know of the station: credentials, and forms of bodies."""

import gzip
import json
import os
import zlib
from collections.abc import Callable
from typing import Any

import cbor2
import httpx2
import msgspec
import schemathesis
from backports import zstd

URL = os.environ["STATION_URL"]
OWNER_TOKEN = os.environ["OWNER_TOKEN"]
METRICS_TOKEN = os.environ["METRICS_TOKEN"]
DEVICE_KEY = os.environ["DEVICE_KEY"]
LOGIN = {"email": os.environ["PASSING_EMAIL"], "password": os.environ["PASSING_PASSWORD"]}
HEARTBEAT = "/api/v1/devices/{device_id}/heartbeat"
LOGOUT = "/api/v1/auth/logout"
NUMBERS = ["/metrics", "/api/status"]
COMPRESS = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstd.compress}


class Bearer:
    """Puts a token into the header that every operation declares."""

    def set(
        self, case: schemathesis.Case[Any], data: str, _context: schemathesis.AuthContext
    ) -> None:
        case.headers["Authorization"] = f"Bearer {data}"


@schemathesis.auth().skip_for(path=[HEARTBEAT, LOGOUT, *NUMBERS])
class Owner(Bearer):
    """The owner of a throw-away organization."""

    def get(self, _case: schemathesis.Case[Any], _context: schemathesis.AuthContext) -> str:
        return OWNER_TOKEN


@schemathesis.auth().apply_to(path=HEARTBEAT)
class Device(Bearer):
    """The device itself: nobody else may send its heartbeat."""

    def get(self, _case: schemathesis.Case[Any], _context: schemathesis.AuthContext) -> str:
        return DEVICE_KEY


@schemathesis.auth().apply_to(path=NUMBERS)
class Metrics(Bearer):
    """Whoever has the metrics token."""

    def get(self, _case: schemathesis.Case[Any], _context: schemathesis.AuthContext) -> str:
        return METRICS_TOKEN


@schemathesis.auth(refresh_interval=None).apply_to(path=LOGOUT)
class Passing(Bearer):
    """Somebody who logs in anew each time: logging out ends what it is done with."""

    def get(self, _case: schemathesis.Case[Any], _context: schemathesis.AuthContext) -> str:
        answer = httpx2.post(f"{URL}/api/v1/auth/login", json=LOGIN, timeout=30)
        return answer.json()["access_token"]


def register(media_type: str, encode: Callable[[Any], bytes]) -> None:
    """Encode bodies of a type, and compress them if the request says that they are."""

    @schemathesis.serializer(media_type)
    def encoded(context: schemathesis.SerializationContext, value: Any) -> bytes:
        case = context.case
        body = value if isinstance(value, bytes) else encode(value)
        declared = case.method.upper() == case.operation.method.upper()
        compress = COMPRESS.get(str(case.headers.get("content-encoding"))) if declared else None
        return body if compress is None else compress(body)


register("application/json", lambda value: json.dumps(value).encode())
register("application/cbor", cbor2.dumps)
register("application/msgpack", msgspec.msgpack.encode)


@schemathesis.hook
def before_call(
    _context: schemathesis.HookContext, case: schemathesis.Case[Any], _kwargs: dict[str, Any]
) -> None:
    """Come by a proxy: whoever is on the station's own computer may read more.

    Ask for the first page when all is valid: a cursor is opaque, only the station makes one.
    """
    case.headers["X-Forwarded-For"] = "203.0.113.7"
    if case.meta is None or case.meta.generation.mode.is_positive:
        case.query.pop("cursor", None)
