"""What an authenticated client may say, and what happens then."""

from collections.abc import Callable
from typing import Protocol

from fieldstation.adapters.mqtt_server.acknowledge import Acknowledger
from fieldstation.adapters.mqtt_server.broker import Broker
from fieldstation.adapters.mqtt_server.codec import (
    PINGRESP,
    encode_pubacks,
    encode_suback,
    encode_unsuback,
)
from fieldstation.adapters.mqtt_server.packets import (
    SUBSCRIPTION_REFUSED,
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    ProtocolError,
    Puback,
    Publish,
    Subscribe,
    Unsubscribe,
)
from fieldstation.adapters.mqtt_server.ports import MqttIdentity, Verdict
from fieldstation.adapters.mqtt_server.sessions import Session

TAKEN = Verdict.TAKEN
PASSED = Verdict.PASSED


class ConversationLink(Protocol):
    """The connection below a conversation."""

    def send(self, frame: bytes) -> None:
        """Write a packet."""
        ...

    def hold_back(self, when_ready: Callable[[Callable[[], None]], None]) -> None:
        """Read and handle nothing more until ``when_ready`` calls back."""
        ...

    def close(self, reason: str, *, at_once: bool = False) -> None:
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
        link: ConversationLink,
    ) -> None:
        self.identity = identity
        self.session = session
        self.acknowledger = Acknowledger(
            identity.organization_id,
            broker.organization(identity.organization_id).space,
            broker.retained,
            acknowledge=self._acknowledge,
            abandon=self._abandon,
        )
        self._broker = broker
        self._space = broker.organization(identity.organization_id).space
        self._counters = broker.counters
        self._station = broker.station
        self._station_publish = broker.station.publish
        self._link = link
        self._will = connect.will
        self._ended = False

    def handle(self, packets: list[Packet]) -> list[Packet]:
        """Handle packets in order.

        Return those for the next turn, or for after the link was held back.
        """
        for index, packet in enumerate(packets):
            if isinstance(packet, Publish):
                if not self._on_publish(packet):
                    return packets[index:]
            elif not self._on_other(packet):
                return packets[index + 1 :]
        return []

    def end(self, *, with_will: bool) -> None:
        """The connection is closed."""
        self._ended = True
        if with_will and self._will:
            will = self._will
            message = Publish(will.topic, will.payload, 0, min(will.qos, 1), will.retain)
            self._broker.wills.publish(self.identity, message, self.acknowledger)

    def _on_publish(self, packet: Publish) -> bool:
        """Handle a message; return whether to go on with the next packet."""
        if packet.retain and self._broker.retained.full:
            return self._on_full(packet, self._broker.retained.when_ready)
        if packet.qos > 1:
            raise ProtocolError("QoS 2 is not offered; publish with QoS 1")
        verdict = self._station_publish(
            self.identity, packet.topic, packet.payload, self.acknowledger
        )
        if verdict is TAKEN:
            self._counters.messages_received += 1
            self.acknowledger.taken(packet)
            return True
        if verdict is PASSED:
            self._counters.messages_received += 1
            self.acknowledger.passed(packet)
            return True
        return self._on_refusal(packet, verdict)

    def _on_refusal(self, packet: Publish, verdict: Verdict) -> bool:
        if verdict is Verdict.FULL:
            return self._on_full(packet, self._station.when_ready)
        if verdict is Verdict.WAIT:
            return self._hold_back(self._station.when_ready)
        if verdict is Verdict.DENIED:
            self._counters.denied += 1
            self._link.close("this client may not publish to this topic")
        else:
            self._counters.over_quota += 1
            self._link.close("the organization may store no more")
        return False

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

    def _on_other(self, packet: Packet) -> bool:
        """Handle anything but a message; return whether the turn may go on."""
        match packet:
            case Puback(packet_id):
                self.session.outbox.acknowledge(packet_id)
                return True
            case Pingreq():
                self._station.seen(self.identity)
                self._link.send(PINGRESP)
                return True
            case Subscribe():
                self._on_subscribe(packet)
            case Unsubscribe(packet_id, filters):
                self.session.unsubscribe(*filters)
                self._link.send(encode_unsuback(packet_id))
            case Disconnect():
                self._will = None
                self._link.close("the client left")
            case _:
                raise ProtocolError("a second CONNECT")
        return False

    def _on_subscribe(self, packet: Subscribe) -> None:
        codes = [self._subscribe(topic_filter, qos) for topic_filter, qos in packet.filters]
        self._link.send(encode_suback(packet.packet_id, codes))
        for (topic_filter, _), code in zip(packet.filters, codes, strict=True):
            if code != SUBSCRIPTION_REFUSED and not self.session.outbox.offer_retained(
                self._space.retained(topic_filter, qos=code)
            ):
                self._link.close("the client is too slow for the retained messages it asks for")
                return

    def _subscribe(self, topic_filter: str, qos: int) -> int:
        known = topic_filter in self.session.subscriptions
        room = len(self.session.subscriptions) < self._broker.options.subscriptions_max
        shared = topic_filter.startswith("$share/")
        if shared or not (known or room):
            return SUBSCRIPTION_REFUSED
        if not self._station.may_subscribe(self.identity, topic_filter):
            return SUBSCRIPTION_REFUSED
        granted = min(qos, 1)
        self.session.subscribe(topic_filter, granted)
        return granted

    def _acknowledge(self, packet_ids: list[int]) -> None:
        if packet_ids and not self._ended:
            self._counters.acknowledged += len(packet_ids)
            self._link.send(encode_pubacks(packet_ids))

    def _abandon(self) -> None:
        self._counters.failed += 1
        self._link.close("the station could not store what this client sent", at_once=True)
