"""One MQTT connection to the station, from the attempt to its end."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

KEEP_ALIVE_S = 30
CONNECT_TIMEOUT_S = 5.0
CLOSE_TIMEOUT_S = 1.0

# What MQTT 3.1.1 calls return codes 4 and 5, in paho's words.
CREDENTIAL_REFUSALS = ("Bad user name or password", "Not authorized")


@dataclass(frozen=True, slots=True)
class Opened:
    """The station has accepted the connection."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The station has answered the connection with a refusal."""

    reason: str
    credentials: bool


@dataclass(frozen=True, slots=True)
class Lost:
    """The connection could not be made or has ended."""

    reason: str


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The station has taken the message."""

    message_id: int


ConnectionEvent = Opened | Refused | Lost | Acknowledged


class Connection(Protocol):
    """What the reporter needs of a connection; events arrive by the callback it was opened with."""

    def publish(self, topic: str, payload: bytes) -> int:
        """Send with QoS 1 and return the message id that ``Acknowledged`` will name."""
        ...

    def close(self) -> None:
        """Say goodbye within a second, then let go."""
        ...

    def abort(self) -> None:
        """Let go at once."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Station:
    """Where the station is and who we are there."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    device_id: str
    key: str = field(repr=False)

    def __str__(self) -> str:
        return f"{'mqtts' if self.tls else 'mqtt'}://{self.host}:{self.port}"


def open_connection(
    station: Station, report: Callable[[ConnectionEvent], None]
) -> "MqttConnection":
    """Start to connect; ``report`` is called from other threads."""
    return MqttConnection(station, report)


class MqttConnection:
    """A paho client that lives for one connection, so that what is in flight dies with it."""

    def __init__(self, station: Station, report: Callable[[ConnectionEvent], None]) -> None:
        self._station = station
        self._report = report
        self._given_up = False
        self._handover = threading.Lock()
        self._ended = threading.Event()
        self._client = make_client(station, report, self._ended)
        # Resolving and connecting block; the network loop starts after them, in paho's own thread.
        threading.Thread(target=self._connect, name="agent-connect", daemon=True).start()

    def publish(self, topic: str, payload: bytes) -> int:
        return self._client.publish(topic, payload, qos=1).mid

    def close(self) -> None:
        self._client.disconnect()
        self._ended.wait(CLOSE_TIMEOUT_S)
        self.abort()

    def abort(self) -> None:
        with self._handover:
            self._given_up = True
        # Shutting the socket wakes paho's thread, even from waiting for a peer that does not read.
        if isinstance(sock := self._client.socket(), socket.socket):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._client.loop_stop()

    def _connect(self) -> None:
        try:
            self._client.connect(self._station.host, self._station.port, keepalive=KEEP_ALIVE_S)
        except (OSError, ValueError) as error:
            self._ended.set()
            reason = getattr(error, "strerror", None) or error
            self._report(Lost(f"cannot reach {self._station}: {reason}"))
            return
        with self._handover:
            if not self._given_up:
                self._client.loop_start()
                return
        self._client.disconnect()


class ClosingSocket(ssl.SSLSocket):
    """Closes itself when its handshake fails, which paho leaves to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


def make_tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Trust the authority in a PEM file or else the system's; raises ``OSError``."""
    context = ssl.create_default_context(cafile=ca_file)
    context.sslsocket_class = ClosingSocket
    return context


def make_client(
    station: Station, report: Callable[[ConnectionEvent], None], ended: threading.Event
) -> mqtt.Client:
    """Make a client whose callbacks only report; none refers to it, so that it is freed at once."""
    client = mqtt.Client(
        CallbackAPIVersion.VERSION2,
        client_id=f"fieldstation-agent-{station.device_id}",
        protocol=mqtt.MQTTv311,
        clean_session=True,
        reconnect_on_failure=False,
    )
    client.connect_timeout = CONNECT_TIMEOUT_S
    client.username_pw_set(station.device_id, station.key)
    if station.tls is not None:
        client.tls_set_context(station.tls)

    def connected(
        _client: mqtt.Client,
        _: object,
        _flags: object,
        reason: ReasonCode,
        _more: Properties | None,
    ) -> None:
        name = reason.getName()
        report(Refused(name, name in CREDENTIAL_REFUSALS) if reason.is_failure else Opened())

    def disconnected(
        _client: mqtt.Client,
        _: object,
        _flags: object,
        reason: ReasonCode,
        _more: Properties | None,
    ) -> None:
        ended.set()
        report(Lost(f"connection ended: {reason.getName()}"))

    def published(
        _client: mqtt.Client, _: object, message_id: int, _reason: object, _more: object
    ) -> None:
        report(Acknowledged(message_id))

    client.on_connect = connected
    client.on_disconnect = disconnected
    client.on_publish = published
    return client
