"""What the MQTT server needs from the station behind it: who may connect, and what becomes of a
message."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from fieldstation.core.events import Event
from fieldstation.domains.messaging.events import MessagePublished, TopicsHeard
from fieldstation.domains.messaging.schemas import (
    Change,
    Claim,
    Handover,
    KeptSession,
    Retained,
)
from fieldstation.domains.telemetry.exchanges import Exchange


@dataclass(frozen=True, slots=True)
class MqttIdentity:
    """Who is connected: a device, or a user with an API key.

    ``subjects`` are the ids whose revocation must end this connection (key id, device id, user id,
    …).
    """

    organization_id: str
    device_id: str | None
    user_id: str | None
    can_publish_any: bool
    can_subscribe_any: bool
    subjects: frozenset[str]

    def is_of(self, subject: str) -> bool:
        """Whether this is the device, the user or the organization itself, not only a key."""
        return subject in {self.device_id, self.user_id, self.organization_id}


@dataclass(frozen=True, slots=True)
class MqttCredentials:
    """What a CONNECT brought, plus where it came from."""

    client_id: str
    username: str | None
    password: bytes | None
    peer: str
    certificate: bytes | None = None
    """The client certificate (DER) that the TLS port verified."""


class Verdict(Enum):
    """What the station made of one published message."""

    TAKEN = auto()
    """It waits in the intake; the receipt will be settled once it is committed (or kept as
    refused)."""

    PASSED = auto()
    """It means nothing to the station: a broker's message, ready to acknowledge and to forward."""

    REFUSED = auto()
    """As TAKEN, but all of it is kept as refused: an MQTT 5 client is told (0x99)."""

    DENIED = auto()
    """This identity may not publish to this topic: the connection is closed (3.1.1), or the
    acknowledgement says so."""

    FULL = auto()
    """The intake has no room and took nothing: stop reading this connection until ``when_ready``.
    """

    WAIT = auto()
    """The station needs something first (a device's series, a gateway) and took nothing: as FULL,
    but QoS 0 waits too."""

    OVER_QUOTA = auto()
    """As REFUSED, because the organization may store no more: the connection is closed (3.1.1), or
    the acknowledgement says so (0x97)."""

    TOO_LARGE = auto()
    """As REFUSED, because it nests deeper than anything may: the connection is closed, an MQTT 5
    client is told (0x95)."""


class Receipt(Protocol):
    """One per connection: told, once per group commit, how many of its taken messages are done."""

    def settle(self, count: int) -> None:
        """The oldest ``count`` unsettled TAKEN messages are committed (or kept as refused).

        QoS 0 messages count too. Called on the loop, never from inside ``publish``.
        """
        ...

    def fail(self, count: int) -> None:
        """The oldest ``count`` were not stored: close without acknowledging, so that the client
        sends again."""
        ...


class MqttStation(Protocol):
    """The station as the server sees it."""

    async def authenticate(self, credentials: MqttCredentials) -> MqttIdentity:
        """Return who this is. Raises ``Unauthenticated`` (CONNACK 4/5) or ``Busy`` (CONNACK 3)."""
        ...

    def publish(
        self, identity: MqttIdentity, topic: str, payload: bytes, receipt: Receipt
    ) -> Verdict:
        """Take one message; synchronous, a few microseconds, called in arrival order for each
        connection."""
        ...

    def keep_exchange(self, exchange: Exchange) -> None:
        """Commit the packet id of the QoS 2 message that was taken just now together with it."""
        ...

    def end_exchange(self, exchange: Exchange, receipt: Receipt) -> None:
        """Delete a packet id that was kept; the receipt is settled once that is committed."""
        ...

    def may_publish(self, identity: MqttIdentity, topic: str) -> bool:
        """Whether this identity may publish to this topic; asked for the will of a CONNECT (CONNACK
        5) and for an empty retained message."""
        ...

    def is_over_quota(self, identity: MqttIdentity) -> bool:
        """Whether readings of this identity are refused now; asked for the CONNECT of MQTT 3.1.1,
        which cannot be told of single messages (CONNACK 3)."""
        ...

    def may_subscribe(self, identity: MqttIdentity, topic_filter: str) -> bool:
        """Whether this identity may subscribe to this filter."""
        ...

    def when_ready(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` once, on the loop, as soon as the intake has room again after ``FULL``;
        never at once."""
        ...

    def seen(self, identity: MqttIdentity) -> None:
        """The identity showed life (CONNECT, PINGREQ or a message)."""
        ...

    async def load_retained(self) -> Sequence[Retained]:
        """Return every retained message of every organization, at start."""
        ...

    async def load_sessions(self) -> Sequence[KeptSession]:
        """Return the sessions of this node, of every organization, at start."""
        ...

    async def save(self, changes: Sequence[Change]) -> None:
        """Commit changes in order; the server acknowledges only afterwards.

        Those of sessions that another node owns by now are left out. Raises ``Busy``; any other
        error means that one of the changes can never be committed.
        """
        ...


class MqttNodes(Protocol):
    """The other nodes that may serve the same clients."""

    node_id: str

    @property
    def has_bus(self) -> bool:
        """Whether messages reach the other nodes at all."""
        ...

    @property
    def connection(self) -> int | None:
        """Another number whenever messages of other nodes may have been missed; None while away."""
        ...

    async def claim(
        self, organization_id: str, client_id: str, *, held_epoch: int | None, fresh: bool
    ) -> Claim:
        """Own a client id; its former owner has handed it over or had its time. Raises ``Busy``.

        ``held_epoch`` is that of the session remembered here; ``fresh``: it will not be gone on
        with.
        """
        ...

    async def show_life(self) -> None:
        """Tell the others that this node is there. Raises ``Busy``."""
        ...

    async def say_goodbye(self) -> None:
        """Tell the others not to wait for this node. Raises ``Busy``."""
        ...

    async def wanted(self) -> Sequence[Handover]:
        """Return what other nodes took from this one. Raises ``Busy``."""
        ...

    async def handed_over(self, given_up: Sequence[Handover]) -> None:
        """Nothing more will be saved of these. Raises ``Busy``."""
        ...

    def when_wanted(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` whenever there is something wanted, if that is heard of."""
        ...

    def publish(self, event: Event) -> None:
        """Tell the other nodes, at most once."""
        ...

    def listen(
        self, heard: Callable[[TopicsHeard], None], published: Callable[[MessagePublished], None]
    ) -> None:
        """Hear what other nodes tell."""
        ...
