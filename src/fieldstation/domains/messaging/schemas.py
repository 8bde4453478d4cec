"""What the broker keeps: retained messages, and the sessions of clients that come back."""

from dataclasses import dataclass

TOPIC_BYTES_MAX = 512
CLIENT_ID_CHARACTERS_MAX = 256


@dataclass(frozen=True, slots=True)
class Retained:
    """A topic's retained message; an empty payload deletes it.

    ``properties`` are encoded as MQTT 5 forwards them; ``expires_us`` 0 means never.
    """

    organization_id: str
    topic: str
    payload: bytes
    qos: int
    properties: bytes = b""
    expires_us: int = 0


@dataclass(frozen=True, slots=True)
class SessionState:
    """A session that outlives its connections; ``left_us`` is 0 while its client is there."""

    organization_id: str
    client_id: str
    owner: str
    expiry_s: int
    left_us: int


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """A session is over, with everything that belongs to it."""

    organization_id: str
    client_id: str


@dataclass(frozen=True, slots=True)
class SubscriptionState:
    """One subscription of a session; without ``options`` it is dropped."""

    organization_id: str
    client_id: str
    topic_filter: str
    options: int | None
    identifier: int = 0


@dataclass(frozen=True, slots=True)
class QueuedMessage:
    """A message on its way to a session's client, under the packet id it will be sent with.

    ``sent`` says that it may have been sent before; ``released`` that only PUBREL is due.
    """

    position: int
    topic: str
    payload: bytes
    qos: int
    retain: bool
    properties: bytes
    expires_us: int
    sent: bool
    released: bool = False


@dataclass(frozen=True, slots=True)
class MessageState:
    """A message of a session; ``None`` once its client has it."""

    organization_id: str
    client_id: str
    packet_id: int
    message: QueuedMessage | None


@dataclass(frozen=True, slots=True)
class ReceivedState:
    """A packet id of a QoS 2 message that the client sent, held until PUBREL."""

    organization_id: str
    client_id: str
    packet_id: int
    held: bool


Change = Retained | SessionState | SessionEnded | SubscriptionState | MessageState | ReceivedState


@dataclass(frozen=True, slots=True)
class KeptSession:
    """A session as it was saved, messages in order."""

    state: SessionState
    subscriptions: tuple[SubscriptionState, ...]
    messages: tuple[tuple[int, QueuedMessage], ...]
    received: tuple[int, ...]
