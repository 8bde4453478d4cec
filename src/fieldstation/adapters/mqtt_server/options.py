"""The limits of the MQTT server, and what it counts."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class PacketLimits:
    """What one packet may hold; anything larger is a protocol error and closes the connection."""

    packet_bytes_max: int = 1 << 20
    topic_bytes_max: int = 1_024
    topic_levels_max: int = 32
    filters_max: int = 256
    topic_aliases_max: int = 32
    """Of MQTT 5: how many aliases a client may have, and a subscriber is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxLimits:
    """How much one session may have on its way to a subscriber.

    A full outbox drops QoS 0. For QoS 1 it ends a connected session's connection, so that the
    client learns of it; the session of a client that is away forgets its oldest message.
    """

    inflight_max: int = 100
    queue_messages_max: int = 10_000
    queue_bytes_max: int = 2 << 20
    retained_backlog_max: int = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceLimits:
    """What one organization may keep.

    What does not fit is refused (MQTT 5), or delivered, acknowledged and not retained: then the
    topic retains nothing.
    """

    retained_messages_max: int = 10_000
    retained_bytes_max: int = 64 << 20
    match_cache_entries_max: int = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttServerOptions:
    """Where the server listens and how much it takes.

    ``port`` and ``tls_port`` 0 mean any free port. At ``connections_max`` the server stops
    accepting (clients wait in the listen backlog); at ``organization_connections_max`` it answers
    CONNACK 3.
    """

    host: str = "127.0.0.1"
    port: int = 1883
    tls_port: int = 8883
    connections_max: int = 10_000
    organization_connections_max: int = 5_000
    accept_backlog: int = 1_024
    accept_backoff_ms: int = 200
    handshakes_per_address_max: int = 32
    handshake_timeout_s: float = 10.0
    handshake_wait_s: float = 30.0
    connect_timeout_s: float = 10.0
    strangers_bytes_max: int = 16 << 20
    """Sent by all clients together that are not authenticated yet; one more is closed."""
    stranger_own_bytes: int = 4 << 10
    """Of each such client, not counted."""
    authentications_max: int = 16
    client_id_bytes_max: int = 256
    pump_turn_ms: float = 1.0
    slice_packets_max: int = 32
    receive_bytes_max: int = 128 << 10
    reply_bytes_max: int = 256 << 10
    write_bytes_high: int = 64 << 10
    close_linger_s: float = 5.0
    sweep_interval_ms: int = 250
    subscriptions_max: int = 256
    sessions_kept_max: int = 1_000
    """Of absent clients, per organization; one more makes the longest absent one forgotten."""
    session_expiry_s: float = 24 * 3600.0
    receive_maximum: int = 1_024
    """Of MQTT 5: unacknowledged messages above QoS 0 that a client may have sent."""
    changes_waiting_max: int = 10_000
    """Changes to retained messages and sessions that wait for their commit; beyond it clients that
    cause more are not read."""
    changes_bytes_max: int = 64 << 20
    """Bytes of such changes; one organization has at most half of both."""
    changes_retry_ms: int = 500
    unsettled_bytes_max: int = 1 << 20
    """Of one connection: messages that need no commit and wait behind one that does."""
    wills_waiting_max: int = 10_000
    """Wills waiting for room in the intake; one more is dropped and counted."""
    broker_topics_interval_s: float = 10.0
    drain_timeout_s: float = 8.0
    packets: PacketLimits = field(default_factory=PacketLimits)
    outbox: OutboxLimits = field(default_factory=OutboxLimits)
    space: SpaceLimits = field(default_factory=SpaceLimits)


@dataclass(slots=True)
class Traffic:
    """The messages of one organization's clients since the server was made."""

    received: int = 0
    sent: int = 0


@dataclass(slots=True)
class MqttCounters:
    """What happened since the server was made; ``connections`` alone goes down again."""

    connections: int = 0
    connections_accepted: int = 0
    connections_refused: int = 0
    accepts_failed: int = 0
    takeovers: int = 0
    messages_received: int = 0
    acknowledged: int = 0
    forwarded: int = 0
    dropped_qos0: int = 0
    dropped_slow: int = 0
    dropped_queued: int = 0
    dropped_expired: int = 0
    dropped_large: int = 0
    slow_closed: int = 0
    denied: int = 0
    over_quota: int = 0
    failed: int = 0
    paused: int = 0
    protocol_errors: int = 0
    timeouts: int = 0
    revoked: int = 0
    wills_published: int = 0
    wills_dropped: int = 0
    retained_refused: int = 0
    changes_dropped: int = 0
    handed_over: int = 0
    forwarded_to_nodes: int = 0
    too_large_for_nodes: int = 0
