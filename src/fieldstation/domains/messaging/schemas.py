"""What the broker keeps: retained messages, and the sessions of clients that come back."""

from dataclasses import dataclass

TOPIC_BYTES_MAX = 512
CLIENT_ID_CHARACTERS_MAX = 256


@dataclass(frozen=True, slots=True)
class Retained:
    """A topic's retained message; an empty payload deletes it.

    ``properties`` are encoded as MQTT 5 forwards them; ``expires_us`` 0 means never. Of two nodes'
    changes the one with the later ``at_us`` stands.
    """

    organization_id: str
    topic: str
    payload: bytes
    qos: int
    properties: bytes = b""
    expires_us: int = 0
    at_us: int = 0

    def __len__(self) -> int:
        return len(self.topic) + len(self.payload) + len(self.properties)


@dataclass(frozen=True, slots=True)
class SessionState:
    """A session that outlives its connections; ``left_us`` is 0 while its client is there.

    ``epoch`` is what its node holds (see ``ownership``); ``began_us`` tells it from others of the
    same client id.
    """

    organization_id: str
    client_id: str
    owner: str
    expiry_s: int
    left_us: int
    epoch: int = 0
    began_us: int = 0


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """A session is over, with everything that belongs to it.

    ``began_us`` is there if packet ids of it stand beside readings.
    """

    organization_id: str
    client_id: str
    epoch: int = 0
    began_us: int = 0


@dataclass(frozen=True, slots=True)
class SessionCleared:
    """A session gives way to a new one of the same client; what belonged to it is gone."""

    organization_id: str
    client_id: str
    epoch: int = 0
    began_us: int = 0


@dataclass(frozen=True, slots=True)
class SubscriptionState:
    """One subscription of a session; without ``options`` it is dropped."""

    organization_id: str
    client_id: str
    topic_filter: str
    options: int | None
    identifier: int = 0
    epoch: int = 0


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

    def __len__(self) -> int:
        return len(self.topic) + len(self.payload) + len(self.properties)


@dataclass(frozen=True, slots=True)
class MessageState:
    """A message of a session; ``None`` once its client has it."""

    organization_id: str
    client_id: str
    packet_id: int
    message: QueuedMessage | None
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class MessageSent:
    """A message that was queued for an absent client has been sent to it."""

    organization_id: str
    client_id: str
    packet_id: int
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class ReceivedState:
    """A packet id of a QoS 2 message that the client sent, held until PUBREL."""

    organization_id: str
    client_id: str
    packet_id: int
    held: bool
    epoch: int = 0


SessionChange = (
    SessionState
    | SessionEnded
    | SessionCleared
    | SubscriptionState
    | MessageState
    | MessageSent
    | ReceivedState
)
Change = Retained | SessionChange


@dataclass(frozen=True, slots=True)
class KeptSession:
    """A session as it was saved, messages in order.

    ``stored`` are the packet ids of QoS 2 messages whose readings are stored.
    """

    state: SessionState
    subscriptions: tuple[SubscriptionState, ...]
    messages: tuple[tuple[int, QueuedMessage], ...]
    received: tuple[int, ...]
    stored: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Claim:
    """A client id that this node owns now.

    ``existed`` says that something may be left of an earlier session; ``taken`` that it was another
    node's; ``kept`` is the session to go on with, if there is one.
    """

    epoch: int
    existed: bool = False
    taken: bool = False
    kept: KeptSession | None = None


@dataclass(frozen=True, slots=True)
class Handover:
    """A client id that another node took from this one under ``epoch``.

    ``fresh`` says that its client began a new session there.
    """

    organization_id: str
    client_id: str
    epoch: int
    fresh: bool
