"""What the server remembers of a client between its connections.

``Sessions`` alone makes, finds and ends sessions: whoever wants them to survive a restart replaces
this class.
"""

from collections import OrderedDict
from collections.abc import Callable

from fieldstation.adapters.mqtt_server.options import MqttCounters, MqttServerOptions
from fieldstation.adapters.mqtt_server.outbox import Outbox
from fieldstation.adapters.mqtt_server.ports import MqttIdentity
from fieldstation.adapters.mqtt_server.space import TopicSpace


class Session:
    """Subscriptions and undelivered messages of one client id of one organization."""

    def __init__(self, owner: str, space: TopicSpace, outbox: Outbox, *, clean: bool) -> None:
        self.owner = owner
        self.clean = clean
        self.outbox = outbox
        self.subscriptions: dict[str, int] = {}
        self._space = space

    def subscribe(self, topic_filter: str, qos: int) -> None:
        """Subscribe, or change the QoS of a subscription."""
        self.subscriptions[topic_filter] = qos
        self._space.subscribe(self, topic_filter, qos)

    def unsubscribe(self, *topic_filters: str) -> None:
        """Drop subscriptions, existing or not."""
        for topic_filter in topic_filters:
            self.subscriptions.pop(topic_filter, None)
        self._space.unsubscribe(self, topic_filters)

    def end(self) -> None:
        """Forget everything."""
        self.unsubscribe(*self.subscriptions)


class Sessions:
    """The persistent sessions of one organization, in memory, bounded and expiring."""

    def __init__(
        self, space: TopicSpace, options: MqttServerOptions, counters: MqttCounters
    ) -> None:
        self._space = space
        self._options = options
        self._counters = counters
        self._present: dict[str, Session] = {}
        self._absent: OrderedDict[str, tuple[float, Session]] = OrderedDict()

    def open(
        self,
        identity: MqttIdentity,
        client_id: str,
        *,
        clean: bool,
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
            if clean or not mine:
                session.end()
                session = None
        present = session is not None
        if session is None:
            outbox = Outbox(self._options.outbox, self._counters, persistent=not clean)
            session = Session(owner, self._space, outbox, clean=clean)
        self._present[client_id] = session
        return session, present

    def leave(self, client_id: str, *, now_s: float) -> None:
        """The client's connection ended.

        Beyond the limit the longest absent session is forgotten.
        """
        session = self._present.pop(client_id)
        session.outbox.detach()
        if session.clean:
            session.end()
            return
        self._absent[client_id] = (now_s + self._options.session_expiry_s, session)
        if len(self._absent) > self._options.sessions_kept_max:
            self._forget_oldest()

    def expire(self, now_s: float) -> None:
        """Forget the sessions of clients that stayed away too long."""
        while self._absent and next(iter(self._absent.values()))[0] <= now_s:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        _, (_, session) = self._absent.popitem(last=False)
        session.end()
