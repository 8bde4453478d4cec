"""What the server says in each version of MQTT: the same meaning, other bytes."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from fieldstation.adapters.mqtt_server import properties as names
from fieldstation.adapters.mqtt_server.codec import (
    encode_acknowledgement,
    encode_pubacks,
    encode_publish,
    encode_suback,
    encode_unsuback,
)
from fieldstation.adapters.mqtt_server.codec5 import (
    encode_acknowledgement_5,
    encode_disconnect_5,
    encode_number,
    encode_publish_5,
    encode_suback_5,
    encode_unsuback_5,
)
from fieldstation.adapters.mqtt_server.fields import encode_size
from fieldstation.adapters.mqtt_server.packets import (
    PROTOCOL_LEVEL_5,
    RECEIVE_MAXIMUM,
    SUBSCRIPTION_REFUSED,
    Connect,
    ProtocolError,
    Publish,
    Reason,
)
from fieldstation.core.clock import Clock

if TYPE_CHECKING:
    from fieldstation.adapters.mqtt_server.outbox import Delivery

PUBACK = 0x40
PUBREC = 0x50
PUBREL = 0x62
PUBCOMP = 0x70
CODE_SHIFT = 16
QOS_2 = 1 << 24
PACKET_ID_BITS = 0xFFFF
US_PER_S = 1_000_000


def token_of(message: Publish, code: int = 0) -> int:
    """Return the acknowledgement due for a message as one number; 0 for QoS 0.

    For QoS 1 and success it is the packet id itself, so that the common case costs nothing.
    """
    if not message.packet_id:
        return 0
    token = message.packet_id | code << CODE_SHIFT
    return token | QOS_2 if message.qos == 2 else token


class Dialect(Protocol):
    """One version of the protocol, for one connection."""

    receive_maximum: int

    def publish(
        self, delivery: "Delivery", packet_id: int = 0, *, duplicate: bool = False
    ) -> bytes | None:
        """Encode a message for this client; ``None`` when it takes none so large."""
        ...

    def acknowledgements(self, tokens: Sequence[int]) -> bytes:
        """Encode PUBACK or PUBREC for each token, in order."""
        ...

    def answer(self, first: int, packet_id: int, code: int = 0) -> bytes:
        """Encode PUBREC, PUBREL or PUBCOMP."""
        ...

    def suback(self, packet_id: int, codes: Iterable[int]) -> bytes:
        """Encode the answer to SUBSCRIBE."""
        ...

    def unsuback(self, packet_id: int, codes: Iterable[int]) -> bytes:
        """Encode the answer to UNSUBSCRIBE."""
        ...

    def goodbye(self, code: int, reason: str) -> bytes:
        """Encode what is said before the station closes; nothing in 3.1.1."""
        ...


class Mqtt311:
    """MQTT 3.1.1; has no state, so that all connections share one."""

    receive_maximum = RECEIVE_MAXIMUM

    def publish(
        self, delivery: "Delivery", packet_id: int = 0, *, duplicate: bool = False
    ) -> bytes | None:
        if not packet_id:
            return delivery.frame()
        was = delivery.message
        numbered = Publish(was.topic, was.payload, packet_id, was.qos, was.retain)
        return encode_publish(numbered, duplicate=duplicate)

    def acknowledgements(self, tokens: Sequence[int]) -> bytes:
        if max(tokens) <= PACKET_ID_BITS:
            return encode_pubacks(tokens)
        return b"".join(
            encode_acknowledgement(PUBREC if token & QOS_2 else PUBACK, token & PACKET_ID_BITS)
            for token in tokens
        )

    def answer(self, first: int, packet_id: int, code: int = 0) -> bytes:  # noqa: ARG002 - has none
        return encode_acknowledgement(first, packet_id)

    def suback(self, packet_id: int, codes: Iterable[int]) -> bytes:
        return encode_suback(packet_id, [min(code, SUBSCRIPTION_REFUSED) for code in codes])

    def unsuback(self, packet_id: int, codes: Iterable[int]) -> bytes:  # noqa: ARG002 - has none
        return encode_unsuback(packet_id)

    def goodbye(self, code: int, reason: str) -> bytes:  # noqa: ARG002 - it only closes
        return b""


MQTT_311 = Mqtt311()


class Mqtt5:
    """MQTT 5 with what one client said it takes."""

    def __init__(self, connect: Connect, clock: Clock, *, topic_aliases_max: int) -> None:
        self.receive_maximum = connect.receive_maximum
        self._packet_bytes_max = connect.packet_bytes_max
        self._aliases_max = min(connect.topic_alias_max, topic_aliases_max)
        self._aliases: dict[str, int] = {}
        self._clock = clock

    def publish(
        self, delivery: "Delivery", packet_id: int = 0, *, duplicate: bool = False
    ) -> bytes | None:
        message = delivery.message
        if packet_id:
            message = Publish(
                message.topic, message.payload, packet_id, message.qos, message.retain
            )
        properties = self._properties(delivery)
        topic = message.topic
        known = self._aliases.get(topic)
        new = known is None and len(self._aliases) < self._aliases_max
        if alias := len(self._aliases) + 1 if new else known:
            shorter = properties + encode_number(names.TOPIC_ALIAS, alias, 2)
            said = "" if known else topic
            frame = encode_publish_5(message, said, shorter, duplicate=duplicate)
            if self._takes(frame):
                self._aliases[topic] = alias
                return frame
        frame = encode_publish_5(message, topic, properties, duplicate=duplicate)
        return frame if self._takes(frame) else None

    def _properties(self, delivery: "Delivery") -> bytes:
        properties = delivery.forwarded
        for identifier in delivery.identifiers:
            properties += bytes((names.SUBSCRIPTION_IDENTIFIER,)) + encode_size(identifier)
        if delivery.expires_us:
            left_s = (delivery.expires_us - self._clock.now_us() + US_PER_S - 1) // US_PER_S
            properties += encode_number(names.MESSAGE_EXPIRY, max(left_s, 0), 4)
        return properties

    def acknowledgements(self, tokens: Sequence[int]) -> bytes:
        if max(tokens) <= PACKET_ID_BITS:
            return encode_pubacks(tokens)
        return b"".join(map(self._acknowledgement, tokens))

    def _acknowledgement(self, token: int) -> bytes:
        first = PUBREC if token & QOS_2 else PUBACK
        return self.answer(first, token & PACKET_ID_BITS, token >> CODE_SHIFT & 0xFF)

    def answer(self, first: int, packet_id: int, code: int = 0) -> bytes:
        if not code:
            return encode_acknowledgement(first, packet_id)
        return encode_acknowledgement_5(first, packet_id, code)

    def suback(self, packet_id: int, codes: Iterable[int]) -> bytes:
        return self._fitting(encode_suback_5(packet_id, codes))

    def unsuback(self, packet_id: int, codes: Iterable[int]) -> bytes:
        return self._fitting(encode_unsuback_5(packet_id, codes))

    def _fitting(self, frame: bytes) -> bytes:
        """Return an answer that must not be left out. Raises ``ProtocolError``."""
        if not self._takes(frame):
            raise ProtocolError(
                "an answer is larger than the client takes", Reason.PACKET_TOO_LARGE
            )
        return frame

    def _takes(self, frame: bytes) -> bool:
        return not self._packet_bytes_max or len(frame) <= self._packet_bytes_max

    def goodbye(self, code: int, reason: str) -> bytes:
        if code == Reason.SUCCESS:
            return b""
        frame = encode_disconnect_5(code, reason)
        return frame if self._takes(frame) else encode_disconnect_5(code, "")


def dialect_of(connect: Connect, clock: Clock, *, topic_aliases_max: int) -> Dialect:
    """Return what a client speaks."""
    if connect.level == PROTOCOL_LEVEL_5:
        return Mqtt5(connect, clock, topic_aliases_max=topic_aliases_max)
    return MQTT_311
