"""SUBSCRIBE and UNSUBSCRIBE of one client."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fieldstation.adapters.mqtt_server.broker import Broker
from fieldstation.adapters.mqtt_server.broker_topics import PREFIX
from fieldstation.adapters.mqtt_server.dialects import Dialect
from fieldstation.adapters.mqtt_server.grants import QOS_BITS, RETAIN_HANDLING, Grant
from fieldstation.adapters.mqtt_server.keeper import Then
from fieldstation.adapters.mqtt_server.outbox import Delivery
from fieldstation.adapters.mqtt_server.packets import (
    Publish,
    Reason,
    Subscribe,
    Unsubscribe,
)
from fieldstation.adapters.mqtt_server.ports import MqttIdentity
from fieldstation.adapters.mqtt_server.sessions import Session
from fieldstation.adapters.mqtt_server.shared import split_shared
from fieldstation.adapters.mqtt_server.topics import RetainedTree

if TYPE_CHECKING:
    from fieldstation.adapters.mqtt_server.conversation import ConversationLink

ALWAYS, IF_NEW = 0, 1


class Subscribing:
    """Grants what a client may hear; of a kept session only once that is saved."""

    def __init__(
        self,
        broker: Broker,
        identity: MqttIdentity,
        session: Session,
        link: "ConversationLink",
        dialect: Dialect,
    ) -> None:
        self._broker = broker
        self._organization = broker.organization(identity.organization_id)
        self._identity = identity
        self._session = session
        self._link = link
        self._dialect = dialect

    def subscribe(self, packet: Subscribe) -> None:
        """Grant each filter or refuse it alone; then come the retained messages."""
        before = self._broker.keeper.position
        codes: list[int] = []
        wanted: list[tuple[str, Grant]] = []
        for topic_filter, options in packet.filters:
            is_new = topic_filter not in self._session.subscriptions
            code = self._fault_of(topic_filter, is_new=is_new)
            if not code:
                match = self._session.subscribe(topic_filter, options, packet.identifier)
                code = options & QOS_BITS
                handling = options >> RETAIN_HANDLING
                if handling == ALWAYS or (handling == IF_NEW and is_new):
                    wanted.append((topic_filter, match.others))
            codes.append(code)
        answer = self._dialect.suback(packet.packet_id, codes)
        if self._broker.keeper.position == before:
            self._answer(answer, wanted)
        else:
            self._broker.keeper.tell(Then(lambda: self._answer(answer, wanted)))

    def unsubscribe(self, packet: Unsubscribe) -> None:
        """Drop the filters, existing or not."""
        before = self._broker.keeper.position
        found = self._session.unsubscribe(*packet.filters)
        codes = [Reason.SUCCESS if each else Reason.NO_SUBSCRIPTION for each in found]
        answer = self._dialect.unsuback(packet.packet_id, codes)
        if self._broker.keeper.position == before:
            self._link.send(answer)
        else:
            self._broker.keeper.tell(Then(lambda: self._link.send(answer)))

    def _fault_of(self, topic_filter: str, *, is_new: bool) -> int:
        subscriptions = self._session.subscriptions
        if is_new and len(subscriptions) >= self._broker.options.subscriptions_max:
            return Reason.QUOTA_EXCEEDED
        if not self._broker.may_subscribe(self._identity, topic_filter):
            return Reason.NOT_AUTHORIZED
        return 0

    def _answer(self, answer: bytes, wanted: Sequence[tuple[str, Grant]]) -> None:
        self._link.send(answer)
        for topic_filter, grant in wanted:
            if not self._session.outbox.offer_retained(self._retained(topic_filter, grant)):
                self._link.close(
                    "the client is too slow for the retained messages it asks for",
                    code=Reason.QUOTA_EXCEEDED,
                )
                return

    def _retained(self, topic_filter: str, grant: Grant) -> list[Delivery]:
        if split_shared(topic_filter)[0]:
            return []
        return [
            *self._organization.space.retained(topic_filter, grant),
            *self._broker_topics(topic_filter, grant),
        ]

    def _broker_topics(self, topic_filter: str, grant: Grant) -> list[Delivery]:
        if not topic_filter.startswith(PREFIX):
            return []
        tree: RetainedTree[Publish] = RetainedTree()
        for message in self._broker.topics.messages(self._organization):
            tree.put(message.topic, message)
        return [
            Delivery(each.topic, each.payload, qos=0, retain=True, identifiers=grant.identifiers)
            for each in tree.match(topic_filter)
        ]
