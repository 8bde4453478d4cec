"""What the server remembers of a client between its connections."""

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

from fieldstation.adapters.mqtt_server.dialects import US_PER_S
from fieldstation.adapters.mqtt_server.grants import Match, match_of
from fieldstation.adapters.mqtt_server.journal import SessionJournal
from fieldstation.adapters.mqtt_server.keeper import Keeper
from fieldstation.adapters.mqtt_server.options import MqttCounters, MqttServerOptions, Traffic
from fieldstation.adapters.mqtt_server.outbox import Delivery, Outbox
from fieldstation.adapters.mqtt_server.packets import Connect
from fieldstation.adapters.mqtt_server.ports import MqttIdentity
from fieldstation.adapters.mqtt_server.space import TopicSpace
from fieldstation.core.clock import Clock
from fieldstation.domains.messaging.schemas import KeptSession

if TYPE_CHECKING:
    from fieldstation.adapters.mqtt_server.conversation import Conversation


class Session:
    """Subscriptions, undelivered messages and open QoS 2 exchanges of one client id."""

    def __init__(
        self,
        owner: str,
        space: TopicSpace,
        outbox: Outbox,
        *,
        expiry_s: int,
        journal: SessionJournal | None,
    ) -> None:
        self.owner = owner
        self.expiry_s = expiry_s
        self.outbox = outbox
        self.journal = journal
        self.subscriptions: dict[str, tuple[int, int]] = {}
        self.received: dict[int, bool] = {}
        """Packet ids of QoS 2 messages until their PUBREL, and whether they are safe."""
        self.conversation: Conversation | None = None
        self.ended = False
        self._space = space

    def subscribe(self, topic_filter: str, options: int, identifier: int = 0) -> Match:
        """Subscribe, or change a subscription."""
        match = match_of(options, identifier)
        self.subscriptions[topic_filter] = (options, identifier)
        self._space.subscribe(self, topic_filter, match)
        if self.journal is not None:
            self.journal.subscribed(topic_filter, options, identifier)
        return match

    def restore(self, kept: KeptSession) -> None:
        """Take back what was saved."""
        for each in kept.subscriptions:
            options = each.options or 0
            self.subscriptions[each.topic_filter] = (options, each.identifier)
            self._space.subscribe(self, each.topic_filter, match_of(options, each.identifier))
        for packet_id, message in kept.messages:
            delivery = Delivery(
                message.topic,
                message.payload,
                qos=message.qos,
                retain=message.retain,
                forwarded=message.properties,
                expires_us=message.expires_us,
            )
            self.outbox.restore(
                packet_id,
                delivery,
                sent=message.sent or not kept.state.left_us,
                released=message.released,
            )
        self.received = dict.fromkeys(kept.received, True)

    def unsubscribe(self, *topic_filters: str) -> list[bool]:
        """Drop subscriptions; return which of them there were."""
        found = [self.subscriptions.pop(each, None) is not None for each in topic_filters]
        self._space.unsubscribe(self, topic_filters)
        if self.journal is not None:
            for topic_filter in topic_filters:
                self.journal.unsubscribed(topic_filter)
        return found

    def end(self) -> None:
        """Forget everything."""
        self.ended = True
        self._space.unsubscribe(self, tuple(self.subscriptions))
        self.subscriptions.clear()
        if self.journal is not None:
            self.journal.ended()


class Sessions:
    """The sessions of one organization, bounded and expiring."""

    def __init__(
        self,
        organization_id: str,
        space: TopicSpace,
        options: MqttServerOptions,
        counters: MqttCounters,
        *,
        keeper: Keeper,
        clock: Clock,
        traffic: Traffic,
    ) -> None:
        self._organization_id = organization_id
        self._space = space
        self._options = options
        self._counters = counters
        self._keeper = keeper
        self._traffic = traffic
        self._clock = clock
        self._present: dict[str, Session] = {}
        self._absent: OrderedDict[str, tuple[float, Session]] = OrderedDict()
        self._next_due_s = 0.0

    def open(
        self,
        identity: MqttIdentity,
        connect: Connect,
        client_id: str,
        *,
        may_keep: Callable[[str], bool],
    ) -> tuple[Session, bool]:
        """Return the session for a connecting client, and whether it was there before.

        A session belongs to whoever made it: another device or user with the same client id gets a
        new one, and so does one that lost the right to any of its subscriptions (``may_keep``).
        """
        owner = identity.device_id or identity.user_id or ""
        _, session = self._absent.pop(client_id, (0.0, None))
        if session is not None:
            mine = session.owner == owner and all(map(may_keep, session.subscriptions))
            if connect.clean_session or not mine:
                session.end()
                session = None
        present = session is not None
        expiry_s = self.expiry_of(connect)
        if session is None:
            session = self._make(owner, client_id, expiry_s)
        session.expiry_s = expiry_s
        self._present[client_id] = session
        if session.journal is not None:
            session.journal.there(owner, expiry_s)
        return session, present

    def expiry_of(self, connect: Connect) -> int:
        """Return how long a client's session outlives its connection."""
        longest_s = int(self._options.session_expiry_s)
        if connect.session_expiry_s is None:
            return 0 if connect.clean_session else longest_s
        return min(connect.session_expiry_s, longest_s)

    def _make(self, owner: str, client_id: str, expiry_s: int) -> Session:
        journal = None
        if expiry_s:
            journal = SessionJournal(self._keeper, self._organization_id, client_id)
        outbox = Outbox(
            self._options.outbox,
            self._counters,
            persistent=expiry_s > 0,
            now_us=self._clock.now_us,
            journal=journal,
            traffic=self._traffic,
        )
        return Session(owner, self._space, outbox, expiry_s=expiry_s, journal=journal)

    def restore(self, kept: KeptSession) -> None:
        """Take back a session that was saved; its client is not there."""
        state = kept.state
        session = self._make(state.owner, state.client_id, state.expiry_s)
        session.restore(kept)
        gone_s = max(self._clock.now_us() - state.left_us, 0) / US_PER_S if state.left_us else 0.0
        self._add_absent(state.client_id, session, state.expiry_s - gone_s)

    def leave(self, client_id: str) -> None:
        """The client's connection ended.

        Beyond the limit the longest absent session is forgotten.
        """
        session = self._present.pop(client_id)
        session.outbox.detach()
        session.conversation = None
        if not session.expiry_s:
            session.end()
            return
        if session.journal is not None:
            session.journal.left(session.owner, session.expiry_s, self._clock.now_us())
        self._add_absent(client_id, session, session.expiry_s)
        if len(self._absent) > self._options.sessions_kept_max:
            self._forget(next(iter(self._absent)))

    def _add_absent(self, client_id: str, session: Session, left_s: float) -> None:
        due_s = self._clock.monotonic() + left_s
        self._absent[client_id] = (due_s, session)
        self._next_due_s = min(due_s, self._next_due_s) if len(self._absent) > 1 else due_s

    def expire(self, now_s: float) -> None:
        """Forget the sessions of clients that stayed away too long."""
        if not self._absent or now_s < self._next_due_s:
            return
        for client_id, (due_s, _) in tuple(self._absent.items()):
            if due_s <= now_s:
                self._forget(client_id)
        self._next_due_s = min((due_s for due_s, _ in self._absent.values()), default=0.0)

    def _forget(self, client_id: str) -> None:
        _, session = self._absent.pop(client_id)
        session.end()
