"""What an MQTT client of the station does, with the library that most devices' owners use."""

import json
from socket import SHUT_RDWR, socket
from types import TracebackType
from typing import Any, Literal, cast
from uuid import uuid4

from paho.mqtt.client import Client, MQTTMessage, MQTTMessageInfo, MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.wait_until import wait_until_blocking


class MqttClient:
    """One connection, never made again; remembers what it was told and when it was closed."""

    def __init__(
        self,
        port: int,
        username: str,
        password: str,
        *,
        client_id: str | None = None,
        keeps_session: bool = False,
        version: int = 4,
        transport: Literal["tcp", "websockets"] = "tcp",
        will: tuple[str, str] | None = None,
    ) -> None:
        self.messages: list[MQTTMessage] = []
        self.granted: list[int] = []
        self.refused: str | None = None
        self.connections = 0
        self.session_present = False
        self.reasons: list[int] = []
        """The reason codes of acknowledged publishes, in order."""
        self.closed = False
        self.goodbye = 0
        """The reason code with which an MQTT 5 connection ended."""
        self._port = port
        self._keeps_session = keeps_session
        self._version = version
        self._client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id or uuid4().hex,
            clean_session=not keeps_session if version == 4 else None,
            protocol=MQTTv311 if version == 4 else MQTTv5,
            reconnect_on_failure=False,
            transport=transport,
        )
        if transport == "websockets":
            self._client.ws_set_options("/mqtt")
        self._client.username_pw_set(username, password)
        if will is not None:
            self._client.will_set(*will, qos=1)
        self._client.on_connect = self._connected
        self._client.on_disconnect = self._disconnected
        self._client.on_message = lambda _client, _data, message: self.messages.append(message)
        self._client.on_subscribe = self._subscribed
        self._client.on_publish = lambda _client, _data, _mid, reason, _properties: (
            self.reasons.append(reason.value)
        )

    def __enter__(self) -> "MqttClient":
        self._connect()
        self._client.loop_start()
        wait_until_blocking(lambda: self.connections > 0 or self.refused is not None)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _connect(self) -> None:
        if self._version == 4:
            self._client.connect("127.0.0.1", self._port, keepalive=30)
            return
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 3_600 if self._keeps_session else 0
        self._client.connect(
            "127.0.0.1",
            self._port,
            keepalive=30,
            clean_start=not self._keeps_session,
            properties=properties,
        )

    @property
    def is_connected(self) -> bool:
        return self._client.is_connected()

    @property
    def texts(self) -> list[str]:
        return [message.payload.decode() for message in self.messages]

    def set_will(self, topic: str, payload: str, *, delay_s: int) -> None:
        """Leave a will for the case that the connection is lost; before connecting."""
        properties = Properties(PacketTypes.WILLMESSAGE)
        properties.WillDelayInterval = delay_s
        self._client.will_set(topic, payload, qos=1, properties=properties)

    def drop(self) -> None:
        """Lose the connection without a word."""
        connected = self._client.socket()
        assert connected is not None
        cast("socket", connected).shutdown(SHUT_RDWR)
        wait_until_blocking(lambda: self.closed)

    def send(
        self, topic: str, payload: Any, *, qos: int = 1, retain: bool = False
    ) -> MQTTMessageInfo:
        """Publish; what is neither text nor bytes goes as JSON."""
        if not isinstance(payload, str | bytes):
            payload = json.dumps(payload)
        return self._client.publish(topic, payload, qos=qos, retain=retain)

    def publish(self, topic: str, payload: Any, *, qos: int = 1, retain: bool = False) -> None:
        """Publish and wait for the acknowledgement."""
        sent = self.send(topic, payload, qos=qos, retain=retain)
        wait_until_blocking(lambda: self.closed or sent.is_published())
        assert not self.closed, "closed without an acknowledgement"

    def subscribe(self, topic_filter: str, *, qos: int = 1) -> int:
        """Subscribe and return the granted QoS, or 128 for a refusal."""
        before = len(self.granted)
        self._client.subscribe(topic_filter, qos)
        wait_until_blocking(lambda: len(self.granted) > before)
        return self.granted[-1]

    def wait_until_closed(self, *, timeout_s: float = 5.0) -> None:
        wait_until_blocking(lambda: self.closed, timeout_s=timeout_s)

    def _connected(
        self, _client: Client, _data: Any, flags: Any, reason: Any, _properties: Any
    ) -> None:
        self.session_present = flags.session_present
        if reason.is_failure:
            self.refused = str(reason)
            self._client.disconnect()
        else:
            self.connections += 1

    def _disconnected(
        self, _client: Client, _data: Any, _flags: Any, reason: Any, _properties: Any
    ) -> None:
        self.goodbye = reason.value
        self.closed = True

    def _subscribed(
        self, _client: Client, _data: Any, _mid: int, reasons: list[Any], _properties: Any
    ) -> None:
        self.granted.extend(reason.value for reason in reasons)
