"""What an authenticated client may say, and what happens then."""

from collections.abc import Callable
from typing import Protocol

from fieldstation.adapters.mqtt_server.acknowledge import Acknowledger
from fieldstation.adapters.mqtt_server.broker import Broker
from fieldstation.adapters.mqtt_server.codec import PINGRESP, encode_pubacks
from fieldstation.adapters.mqtt_server.dialects import (
    CODE_SHIFT,
    PACKET_ID_BITS,
    PUBCOMP,
    PUBREC,
    PUBREL,
    QOS_2,
    dialect_of,
)
from fieldstation.adapters.mqtt_server.exchanges import Exchanges
from fieldstation.adapters.mqtt_server.packets import (
    PROTOCOL_LEVEL_5,
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    ProtocolError,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Reason,
    Subscribe,
    Unsubscribe,
)
from fieldstation.adapters.mqtt_server.ports import MqttIdentity, Verdict
from fieldstation.adapters.mqtt_server.sessions import Session
from fieldstation.adapters.mqtt_server.subscribing import Subscribing

TAKEN = Verdict.TAKEN
PASSED = Verdict.PASSED
UNSETTLED = frozenset({PASSED, Verdict.DENIED})
"""What the station will not settle."""
REFUSAL = 0x80


class ConversationLink(Protocol):
    """The connection below a conversation."""

    client_id: str

    def send(self, frame: bytes) -> None:
        """Write a packet."""
        ...

    def hold_back(self, when_ready: Callable[[Callable[[], None]], None]) -> None:
        """Read and handle nothing more until ``when_ready`` calls back."""
        ...

    def close(self, reason: str, *, code: Reason = Reason.SUCCESS, at_once: bool = False) -> None:
        """End the connection."""
        ...


class Conversation:
    """Handles the packets of one client from CONNACK to the end of its connection."""

    def __init__(
        self,
        broker: Broker,
        identity: MqttIdentity,
        session: Session,
        connect: Connect,
        *,
        link: ConversationLink,
    ) -> None:
        organization = broker.organization(identity.organization_id)
        self.identity = identity
        self.session = session
        aliases_max = broker.options.packets.topic_aliases_max
        self.dialect = dialect_of(connect, broker.clock, topic_aliases_max=aliases_max)
        self.acknowledger = Acknowledger(
            identity.organization_id,
            organization.space,
            broker.keeper,
            session=session,
            acknowledge=self._acknowledge,
            abandon=self._abandon,
        )
        self._exchanges = Exchanges(
            broker.station,
            broker.keeper,
            session,
            organization_id=identity.organization_id,
            client_id=link.client_id,
        )
        self._taken_plain = self.acknowledger.taken_plain
        self._connect = connect
        self._speaks_5 = connect.level == PROTOCOL_LEVEL_5
        self._receive_max = broker.options.receive_maximum
        self._receiving = 0
        self._broker = broker
        self._space = organization.space
        self._traffic = organization.traffic
        self._counters = broker.counters
        self._station = broker.station
        self._station_publish = broker.station.publish
        self._link = link
        self._subscribing = Subscribing(broker, identity, session, link, self.dialect)
        self._will = connect.will
        self._ended = False
        session.conversation = self

    def handle(self, packets: list[Packet]) -> list[Packet]:
        """Handle packets in order.

        Return those for the next turn, or for after the link was held back.
        """
        before = self._counters.messages_received
        try:
            for index, packet in enumerate(packets):
                if isinstance(packet, Publish):
                    if not self._on_publish(packet):
                        return packets[index:]
                elif self._must_wait(packet):
                    return packets[index:]
                elif not self._on_other(packet):
                    return packets[index + 1 :]
        finally:
            self._traffic.received += self._counters.messages_received - before
        return []

    def end(self, *, with_will: bool) -> None:
        """The connection is closed."""
        self._ended = True
        if with_will and self._will:
            delay_s = min(self._connect.will_delay_s, self.session.expiry_s)
            self._broker.wills.leave(
                self.identity,
                self._will,
                self.acknowledger,
                session=self.session,
                delay_s=delay_s,
            )

    def _on_publish(self, packet: Publish) -> bool:
        """Handle a message; return whether to go on with the next packet."""
        plain = not (
            packet.qos == 2 or packet.retain or self._space.has_listeners or self._speaks_5
        )
        if not plain:
            decided = self._decide(packet)
            if decided is not None:
                return decided
        verdict = self._station_publish(
            self.identity, packet.topic, packet.payload, self.acknowledger
        )
        if verdict is TAKEN:
            self._counters.messages_received += 1
            if plain:
                self._taken_plain(packet.packet_id)
            else:
                self._open(packet)
                if packet.qos == 2:
                    self._exchanges.keep(packet.packet_id)
                self.acknowledger.taken(packet)
            return True
        return self._on_no_reading(packet, verdict)

    def _on_emptying(self, packet: Publish) -> bool:
        """An empty retained message makes its topic forget what it retains; it is no reading."""
        allowed = self._station.may_publish(self.identity, packet.topic)
        return self._on_no_reading(packet, PASSED if allowed else Verdict.DENIED)

    def _decide(self, packet: Publish) -> bool | None:
        """Handle what the station need not see (again); ``None`` if it must."""
        if self._is_repeated(packet):
            return True
        if (packet.retain or packet.qos) and self._must_wait_for_keeper(packet):
            return self._on_full(packet, self._broker.keeper.when_ready)
        if packet.retain and self._speaks_5 and not self._space.has_room(packet):
            return self._on_no_room(packet)
        if packet.qos == 2 and packet.packet_id in self.session.stored:
            return self._on_stored(packet)
        if packet.retain and not packet.payload:
            return self._on_emptying(packet)
        return None

    def _must_wait_for_keeper(self, packet: Publish) -> bool:
        """Whether what this message causes cannot be saved yet."""
        is_full = self._broker.keeper.is_full(self.identity.organization_id)
        return is_full or (packet.qos == 2 and not self._exchanges.can_begin)

    def _on_no_room(self, packet: Publish) -> bool:
        self._counters.retained_refused += 1
        self._open(packet)
        self.acknowledger.refused(packet, Reason.QUOTA_EXCEEDED)
        return True

    def _on_stored(self, packet: Publish) -> bool:
        """The readings of this message were stored before the station's end; the rest was not."""
        self._open(packet)
        self.acknowledger.passed(packet)
        return True

    def _on_no_reading(self, packet: Publish, verdict: Verdict) -> bool:
        if verdict is Verdict.FULL:
            return self._on_full(packet, self._station.when_ready)
        if verdict is Verdict.WAIT:
            return self._hold_back(self._station.when_ready)
        if verdict in UNSETTLED and self.acknowledger.is_crowded(
            self._broker.options.unsettled_bytes_max
        ):
            return self._on_full(packet, self.acknowledger.when_ready)
        if verdict is Verdict.DENIED:
            return self._on_denied(packet)
        self._counters.messages_received += 1
        self._open(packet)
        if verdict is PASSED:
            self.acknowledger.passed(packet)
            return True
        return self._on_refused(packet, verdict)

    def _on_refused(self, packet: Publish, verdict: Verdict) -> bool:
        if verdict is Verdict.OVER_QUOTA:
            return self._on_over_quota(packet)
        code = Reason.BAD_PAYLOAD if self._speaks_5 else 0
        if packet.qos == 2 and not code:  # a refusing PUBREC ends the exchange
            self._exchanges.keep(packet.packet_id)
        self.acknowledger.withheld(packet, code)
        if verdict is Verdict.TOO_LARGE:
            raise ProtocolError("a payload nests too deep", Reason.PACKET_TOO_LARGE)
        return True

    def _is_repeated(self, packet: Publish) -> bool:
        """Answer a QoS 2 message that was taken before; refuse one too many of a client."""
        if packet.qos == 2 and packet.packet_id in self.session.received:
            if self.session.received[packet.packet_id]:
                self._link.send(self.dialect.answer(PUBREC, packet.packet_id))
            return True
        if self._speaks_5 and packet.qos and self._receiving >= self._receive_max:
            fault = "more messages wait for their acknowledgement than agreed on"
            raise ProtocolError(fault, Reason.RECEIVE_MAXIMUM_EXCEEDED)
        return False

    def _open(self, packet: Publish) -> None:
        """Note what is due for a message that was taken."""
        if packet.qos:
            self._receiving += 1
            if packet.qos == 2:
                self.session.received[packet.packet_id] = False

    def _on_denied(self, packet: Publish) -> bool:
        self._counters.denied += 1
        if self._speaks_5:
            self._open(packet)
            self.acknowledger.refused(packet, Reason.NOT_AUTHORIZED)
        else:
            self._link.close("this client may not publish to this topic")
        return self._speaks_5

    def _on_over_quota(self, packet: Publish) -> bool:
        self._counters.over_quota += 1
        self.acknowledger.withheld(packet, Reason.QUOTA_EXCEEDED if self._speaks_5 else 0)
        if not self._speaks_5:
            self._link.close("the organization may store no more")
        return self._speaks_5

    def _on_full(self, packet: Publish, when_ready: Callable[[Callable[[], None]], None]) -> bool:
        if packet.qos == 0:
            self._counters.messages_received += 1
            self._counters.dropped_qos0 += 1
            return True
        return self._hold_back(when_ready)

    def _hold_back(self, when_ready: Callable[[Callable[[], None]], None]) -> bool:
        self._counters.paused += 1
        self._link.hold_back(when_ready)
        return False

    def _must_wait(self, packet: Packet) -> bool:
        """Hold the client back while changes of its subscriptions cannot be saved."""
        if not isinstance(packet, Subscribe | Unsubscribe) or self.session.journal is None:
            return False
        is_full = self._broker.keeper.is_full(self.identity.organization_id)
        return is_full and not self._hold_back(self._broker.keeper.when_ready)

    def _on_other(self, packet: Packet) -> bool:
        """Handle anything but a message; return whether the turn may go on."""
        match packet:
            case Puback(packet_id) | Pubcomp(packet_id):
                self.session.outbox.acknowledge(packet_id)
                return True
            case Pubrec() | Pubrel():
                self._on_exchange(packet)
                return True
            case Pingreq():
                self._station.seen(self.identity)
                self._link.send(PINGRESP)
                return True
            case Subscribe():
                self._subscribing.subscribe(packet)
            case Unsubscribe():
                self._subscribing.unsubscribe(packet)
            case Disconnect():
                self._on_disconnect(packet)
            case _:
                raise ProtocolError("a second CONNECT", Reason.PROTOCOL_ERROR)
        return False

    def _on_exchange(self, packet: Pubrec | Pubrel) -> None:
        """Go on with a QoS 2 exchange."""
        packet_id = packet.packet_id
        if isinstance(packet, Pubrel):
            self._on_pubrel(packet_id)
        elif packet.code >= REFUSAL:
            self.session.outbox.acknowledge(packet_id)
        elif not self.session.outbox.received(packet_id):
            self._link.send(self.dialect.answer(PUBREL, packet_id, Reason.UNKNOWN_PACKET_ID))

    def _on_pubrel(self, packet_id: int) -> None:
        if self._exchanges.is_ending(packet_id):
            return
        known = self.session.received.pop(packet_id, None) is not None
        if not known:
            self._link.send(self.dialect.answer(PUBCOMP, packet_id, Reason.UNKNOWN_PACKET_ID))
            return
        self._receiving = max(self._receiving - 1, 0)
        self._exchanges.end(
            packet_id,
            lambda: self._complete(packet_id),
            lambda: self.close("the station could not end an exchange"),
        )

    def _complete(self, packet_id: int) -> None:
        """Answer PUBREL on whatever connection the client has by now."""
        conversation = self.session.conversation or self
        conversation.send(conversation.dialect.answer(PUBCOMP, packet_id))

    def send(self, frame: bytes) -> None:
        """Write a packet."""
        self._link.send(frame)

    def _on_disconnect(self, packet: Disconnect) -> None:
        if packet.session_expiry_s is not None:
            if packet.session_expiry_s and not self._connect.session_expiry_s:
                raise ProtocolError(
                    "a session without expiry cannot get one", Reason.PROTOCOL_ERROR
                )
            longest_s = int(self._broker.options.session_expiry_s)
            self.session.expiry_s = min(packet.session_expiry_s, longest_s)
        if packet.code == Reason.SUCCESS:
            self._will = None
        self._link.close("the client left")

    def _acknowledge(self, tokens: list[int]) -> None:
        if not tokens:
            return
        plain = max(tokens) <= PACKET_ID_BITS
        if not plain:
            self._note_exchanges(tokens)
        if self._speaks_5:
            self._receiving -= sum(
                not token & QOS_2 or token >> CODE_SHIFT & 0xFF >= REFUSAL for token in tokens
            )
        if not self._ended:
            self._counters.acknowledged += len(tokens)
            encode = encode_pubacks if plain else self.dialect.acknowledgements
            self._link.send(encode(tokens))

    def _note_exchanges(self, tokens: list[int]) -> None:
        """QoS 2 messages are safe: from now on their repetitions are answered at once."""
        for token in tokens:
            packet_id = token & PACKET_ID_BITS
            if not token & QOS_2:
                continue
            if token >> CODE_SHIFT & 0xFF >= REFUSAL:
                self.session.received.pop(packet_id, None)
            elif packet_id in self.session.received:
                self.session.received[packet_id] = True
            if self._ended and self.session.conversation is not None:
                self.session.conversation.answer_late(token)

    def answer_late(self, token: int) -> None:
        """A message that came on an earlier connection of this session is safe now."""
        self.send(self.dialect.acknowledgements([token]))

    def _abandon(self, packet_ids: list[int]) -> None:
        self._counters.failed += 1
        for packet_id in packet_ids:
            self.session.received.pop(packet_id, None)
            self.session.stored.discard(packet_id)
        fault = "the station could not store what this client sent"
        self._link.close(fault, code=Reason.UNSPECIFIED, at_once=True)
        if packet_ids and self.session.conversation is not None:
            self.session.conversation.close(fault)

    def close(self, reason: str) -> None:
        """End the connection of this conversation."""
        self._link.close(reason, code=Reason.UNSPECIFIED, at_once=True)
