"""A client of paho-mqtt that remembers everything it was told."""

import socket
from collections.abc import Mapping
from types import MappingProxyType, TracebackType
from typing import Any, NamedTuple
from uuid import uuid4

from paho.mqtt.client import Client, MQTTMessage, MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from tests.wait_until import wait_until_blocking

QUIET_TOPIC = "fence"


class Will(NamedTuple):
    topic: str
    payload: str
    qos: int = 1
    retain: bool = False
    properties: Mapping[str, Any] = MappingProxyType({})


class Welcome(NamedTuple):
    present: bool
    code: int
    properties: dict[str, Any]


def properties_of(packet_type: int, wanted: Mapping[str, Any]) -> Properties:
    made = Properties(packet_type)
    for name, value in wanted.items():
        setattr(made, name, value)
    return made


def told(properties: Properties | None) -> dict[str, Any]:
    return {} if properties is None else properties.json()


def properties(message: MQTTMessage) -> Any:
    """Return a message's properties; paho makes their attributes as they come."""
    assert message.properties is not None
    return message.properties


class PahoClient:
    """Connects on entry, leaves in good order on exit unless it was cut off before."""

    def __init__(
        self,
        port: int,
        *,
        username: str,
        password: str,
        version: int = 5,
        transport: str = "tcp",
        client_id: str | None = None,
        clean: bool = True,
        keep_alive_s: int = 30,
        will: Will | None = None,
        manual_ack: bool = False,
        **properties: Any,
    ) -> None:
        self.messages: list[MQTTMessage] = []
        self.welcome: Welcome | None = None
        self.closed_with: int | None = None
        self._granted: dict[int, list[int]] = {}
        self._dropped: dict[int, list[int]] = {}
        self._reasons: dict[int, int] = {}
        self._port = port
        self._version = version
        self._clean = clean
        self._keep_alive_s = keep_alive_s
        self._properties = properties
        self._client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=uuid4().hex if client_id is None else client_id,
            clean_session=clean if version == 4 else None,
            protocol=MQTTv311 if version == 4 else MQTTv5,
            reconnect_on_failure=False,
            transport="tcp" if transport == "tcp" else "websockets",
            manual_ack=manual_ack,
        )
        if transport != "tcp":
            self._client.ws_set_options("/mqtt")
        self._client.username_pw_set(username, password)
        if will is not None:
            of_will = properties_of(PacketTypes.WILLMESSAGE, will.properties)
            self._client.will_set(*will[:4], properties=of_will if version == 5 else None)
        self._listen()

    def _listen(self) -> None:
        client = self._client
        client.on_message = lambda _c, _d, message: self.messages.append(message)
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_publish = lambda _c, _d, mid, reason, _p: self._reasons.update(
            {mid: reason.value}
        )
        client.on_subscribe = lambda _c, _d, mid, reasons, _p: self._granted.update(
            {mid: [reason.value for reason in reasons]}
        )
        client.on_unsubscribe = lambda _c, _d, mid, reasons, _p: self._dropped.update(
            {mid: [reason.value for reason in reasons]}
        )

    def _connected(
        self, _client: Client, _data: Any, flags: Any, reason: Any, properties: Any
    ) -> None:
        self.welcome = Welcome(flags.session_present, reason.value, told(properties))

    def _disconnected(
        self, _client: Client, _data: Any, _flags: Any, reason: Any, _properties: Any
    ) -> None:
        self.closed_with = reason.value

    def __enter__(self) -> "PahoClient":
        if self._version == 4:
            self._client.connect("127.0.0.1", self._port, self._keep_alive_s)
        else:
            self._client.connect(
                "127.0.0.1",
                self._port,
                self._keep_alive_s,
                clean_start=self._clean,
                properties=properties_of(PacketTypes.CONNECT, self._properties),
            )
        self._client.loop_start()
        wait_until_blocking(lambda: self.welcome is not None or self.closed_with is not None)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def session_present(self) -> bool:
        assert self.welcome is not None
        return self.welcome.present

    def leave(self, code: int = 0, **properties: Any) -> None:
        """Say good-bye with a reason code of MQTT 5."""
        self._client.disconnect(
            ReasonCode(PacketTypes.DISCONNECT, identifier=code),
            properties_of(PacketTypes.DISCONNECT, properties),
        )
        self.wait_until_closed()

    def cut(self) -> None:
        """End the connection without a word."""
        line: Any = self._client.socket()
        line.shutdown(socket.SHUT_RDWR)
        self.wait_until_closed()

    def publish(
        self,
        topic: str,
        payload: str | bytes,
        qos: int = 1,
        *,
        retain: bool = False,
        **properties: Any,
    ) -> int:
        """Publish, wait for the acknowledgement and return its code."""
        of_message = None
        if self._version == 5:
            of_message = properties_of(PacketTypes.PUBLISH, properties)
        sent = self._client.publish(topic, payload, qos, retain, of_message)
        wait_until_blocking(lambda: sent.mid in self._reasons or self.closed_with is not None)
        return self._reasons.get(sent.mid, -1)

    def subscribe(
        self, *filters: str, qos: int = 2, identifier: int = 0, **options: Any
    ) -> list[int]:
        """Subscribe and return the code of each filter."""
        if self._version == 4:
            _, mid = self._client.subscribe([(each, qos) for each in filters])
        else:
            wanted = SubscribeOptions(qos, **options)
            of_packet = {"SubscriptionIdentifier": identifier} if identifier else {}
            _, mid = self._client.subscribe(
                [(each, wanted) for each in filters],
                properties=properties_of(PacketTypes.SUBSCRIBE, of_packet),
            )
        assert mid is not None
        wait_until_blocking(lambda: mid in self._granted or self.closed_with is not None)
        return self._granted.get(mid, [])

    def unsubscribe(self, *filters: str) -> list[int]:
        _, mid = self._client.unsubscribe(list(filters))
        assert mid is not None
        wait_until_blocking(lambda: mid in self._dropped)
        return self._dropped[mid]

    def acknowledge(self, message: MQTTMessage) -> None:
        self._client.ack(message.mid, message.qos)

    def receive(self, count: int) -> list[MQTTMessage]:
        """Wait for the next messages and take them away."""
        wait_until_blocking(lambda: len(self.messages) >= count)
        taken, self.messages = self.messages[:count], self.messages[count:]
        return taken

    def texts(self, count: int) -> list[str]:
        return [message.payload.decode() for message in self.receive(count)]

    def hears_nothing(self) -> bool:
        """Whether nothing is on its way: a message of its own comes back first."""
        topic = f"{QUIET_TOPIC}/{uuid4().hex}"
        self.subscribe(topic, qos=1)
        self.publish(topic, "")
        wait_until_blocking(lambda: bool(self.messages))
        first = self.messages.pop(0)
        self.unsubscribe(topic)
        return first.topic == topic

    def keep_asking_until_gone(self, topic: str) -> None:
        """Return once a retained message has expired."""

        def is_gone() -> bool:
            self.subscribe(topic)
            if self.hears_nothing():
                return True
            self.receive(1)
            return False

        wait_until_blocking(is_gone)

    def wait_until_closed(self) -> None:
        wait_until_blocking(lambda: self.closed_with is not None)
