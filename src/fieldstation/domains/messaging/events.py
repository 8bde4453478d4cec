"""What the MQTT servers of several nodes tell each other."""

from fieldstation.core.events import Event


class SessionsTaken(Event, frozen=True, kw_only=True, tag=True):
    """A node has sessions to hand over; see ``mqtt_handover``."""

    node_id: str


class TopicsHeard(Event, frozen=True, kw_only=True, tag=True):
    """All filters that a node's clients of one organization subscribed to; no organization: the
    node is there."""

    node_id: str
    organization_id: str
    filters: tuple[str, ...] = ()


class MessagePublished(Event, frozen=True, kw_only=True, tag=True):
    """A message for the clients of other nodes or, if ``retained``, a committed change of what its
    topic retains."""

    node_id: str
    organization_id: str
    topic: str
    payload: bytes
    qos: int
    retain: bool = False
    retained: bool = False
    properties: bytes = b""
    expires_us: int = 0
    at_us: int = 0
