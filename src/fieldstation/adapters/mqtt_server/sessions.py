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
from fieldstation.domains.messaging.schemas import Claim, KeptSession

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
        marker: SessionJournal | None,
        epoch: int,
        began_us: int,
    ) -> None:
        self.owner = owner
        self.expiry_s = expiry_s
        self.outbox = outbox
        self.journal = journal
        self.epoch = epoch
        self.began_us = began_us
        self.subscriptions: dict[str, tuple[int, int]] = {}
        self.received: dict[int, bool] = {}
        """Packet ids of QoS 2 messages until their PUBREL, and whether they are safe."""
        self.stored: set[int] = set()
        """Those of them that stand beside their readings."""
        self.conversation: Conversation | None = None
        self.ended = False
        self._space = space
        self._marker = marker

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
        self.stored = set(kept.stored)

    def unsubscribe(self, *topic_filters: str) -> list[bool]:
        """Drop subscriptions; return which of them there were."""
        found = [self.subscriptions.pop(each, None) is not None for each in topic_filters]
        self._space.unsubscribe(self, topic_filters)
        if self.journal is not None:
            for topic_filter in topic_filters:
                self.journal.unsubscribed(topic_filter)
        return found

    def opened(self, *, has_new_row: bool) -> None:
        """Save that the client is there, unless that is in the tables already."""
        if self._marker is not None and (self.journal is not None or not has_new_row):
            self._marker.there(self.owner, self.expiry_s)

    def end(self, *, for_another: bool = False) -> None:
        """Forget everything; ``for_another``: its client begins a new session."""
        if self._marker is not None:
            has_exchanges = bool(self.stored)
            if for_another:
                self._marker.cleared(has_exchanges=has_exchanges)
            else:
                self._marker.ended(has_exchanges=has_exchanges)
        self.give_up()

    def give_up(self) -> None:
        """Forget everything here: another node has it, or nobody."""
        self.ended = True
        self._space.unsubscribe(self, tuple(self.subscriptions))
        self.subscriptions.clear()
        if self._marker is not None:
            self._marker.close()


class Sessions:
    """The sessions of one organization, bounded and expiring.

    ``shared``: other nodes may take them; then a client without a kept session is known, too, while
    it is there.
    """

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
        shared: bool = False,
    ) -> None:
        self._organization_id = organization_id
        self._space = space
        self._options = options
        self._counters = counters
        self._keeper = keeper
        self._traffic = traffic
        self._clock = clock
        self._shared = shared
        self._present: dict[str, Session] = {}
        self._absent: OrderedDict[str, tuple[float, Session]] = OrderedDict()
        self._next_due_s = 0.0

    def find(self, client_id: str) -> Session | None:
        """Return a client's session, whether the client is there or not."""
        _, absent = self._absent.get(client_id, (0.0, None))
        return self._present.get(client_id, absent)

    def held_epoch(self, client_id: str) -> int | None:
        """Return the epoch of a session that its client can go on with."""
        session = self.find(client_id)
        return session.epoch if session is not None and session.expiry_s else None

    def filters(self) -> set[str]:
        """Return every filter that somebody subscribed to."""
        found: set[str] = set()
        for session in self._present.values():
            found.update(session.subscriptions)
        for _, session in self._absent.values():
            found.update(session.subscriptions)
        return found

    def open(
        self,
        identity: MqttIdentity,
        connect: Connect,
        client_id: str,
        *,
        may_keep: Callable[[str], bool],
        claim: Claim | None = None,
    ) -> tuple[Session, bool]:
        """Return the session for a connecting client, and whether it was there before.

        A session belongs to whoever made it: another device or user with the same client id gets a
        new one, and so does one that lost the right to any of its subscriptions (``may_keep``).
        ``claim`` is what the nodes agreed on before.
        """
        owner = identity.device_id or identity.user_id or ""
        due_s, session = self._absent.pop(client_id, (0.0, None))
        replaces = claim is not None and claim.existed
        if session is not None:
            mine = session.owner == owner and all(map(may_keep, session.subscriptions))
            if connect.clean_session or not mine or due_s <= self._clock.monotonic():
                session.end(for_another=self._shared)
                session = None
            replaces = False
        present = session is not None
        expiry_s = self.expiry_of(connect)
        if session is None:
            began_us = self._clock.now_us()
            epoch = 0 if claim is None else claim.epoch
            if replaces:
                self._marker(client_id, epoch, began_us).cleared()
            session = self._make(owner, client_id, expiry_s, epoch=epoch, began_us=began_us)
        session.expiry_s = expiry_s
        self._present[client_id] = session
        session.opened(has_new_row=claim is not None and not claim.existed)
        return session, present

    def adopt(self, client_id: str, claim: Claim) -> None:
        """Take over what another node had; what this one remembers is older."""
        _, remembered = self._absent.get(client_id, (0.0, None))
        if remembered is not None and remembered.epoch != claim.epoch:
            self.give_up(client_id)
        if claim.kept is not None:
            self.restore(claim.kept)

    def give_up(self, client_id: str) -> Session | None:
        """Forget an absent client's session, which another node has now."""
        _, session = self._absent.pop(client_id, (0.0, None))
        if session is not None:
            session.give_up()
        return session

    def expiry_of(self, connect: Connect) -> int:
        """Return how long a client's session outlives its connection."""
        longest_s = int(self._options.session_expiry_s)
        if connect.session_expiry_s is None:
            return 0 if connect.clean_session else longest_s
        return min(connect.session_expiry_s, longest_s)

    def _marker(self, client_id: str, epoch: int, began_us: int) -> SessionJournal:
        return SessionJournal(
            self._keeper, self._organization_id, client_id, epoch=epoch, began_us=began_us
        )

    def _make(
        self, owner: str, client_id: str, expiry_s: int, *, epoch: int, began_us: int
    ) -> Session:
        marker = None
        if expiry_s or self._shared:
            marker = self._marker(client_id, epoch, began_us)
        journal = marker if expiry_s else None
        outbox = Outbox(
            self._options.outbox,
            self._counters,
            persistent=expiry_s > 0,
            now_us=self._clock.now_us,
            journal=journal,
            traffic=self._traffic,
        )
        return Session(
            owner,
            self._space,
            outbox,
            expiry_s=expiry_s,
            journal=journal,
            marker=marker,
            epoch=epoch,
            began_us=began_us,
        )

    def restore(self, kept: KeptSession) -> None:
        """Take back a session that was saved; its client is not there."""
        state = kept.state
        session = self._make(
            state.owner,
            state.client_id,
            state.expiry_s,
            epoch=state.epoch,
            began_us=state.began_us,
        )
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
