"""One client's connection: bytes in and out, bounded in both directions."""

import asyncio
from collections.abc import Callable
from typing import cast

import structlog

from fieldstation.adapters.mqtt_server.admission import (
    credentials_of,
    objection_to_connect,
    objection_to_identity,
)
from fieldstation.adapters.mqtt_server.broker import Broker
from fieldstation.adapters.mqtt_server.codec import Decoder
from fieldstation.adapters.mqtt_server.conversation import Conversation
from fieldstation.adapters.mqtt_server.packets import (
    Connect,
    Packet,
    ProtocolError,
    Reason,
    UnsupportedProtocolError,
)
from fieldstation.adapters.mqtt_server.ports import MqttCredentials, MqttIdentity
from fieldstation.adapters.mqtt_server.sessions import Session
from fieldstation.adapters.mqtt_server.states import State
from fieldstation.adapters.mqtt_server.strangers import Stranger
from fieldstation.adapters.mqtt_server.transport import ByteTransport, end
from fieldstation.adapters.mqtt_server.welcome import refusal, unsupported, welcome
from fieldstation.core.ids import new_id
from fieldstation.domains.messaging.schemas import Claim

log = structlog.get_logger(__name__)

KEEP_ALIVE_GRACE = 1.5


class MqttConnection(asyncio.Protocol):
    """Reads, waits and writes for one client; a ``Conversation`` says what its packets mean."""

    def __init__(self, broker: Broker) -> None:
        self.state = State.FRESH
        self.revoked: set[str] = set()
        """Subjects revoked while this client's credentials were being checked."""
        self._broker = broker
        self._options = broker.options
        self._pump = broker.pump
        self._decoder = Decoder(broker.options.packets)
        self._stranger = Stranger(broker.strangers)
        self._receive_bytes_max = broker.options.receive_bytes_max
        self._transport: ByteTransport | None = None
        self.connect: Connect | None = None
        self.client_id = ""
        self._conversation: Conversation | None = None
        self._unhandled: list[Packet] = []
        self._outgoing: list[bytes] = []
        self._outgoing_bytes = 0
        self._since_s = broker.clock.monotonic()
        """When the state began (FRESH, CLOSED) or the client was last heard (OPEN)."""
        self._told_s = 0.0
        # In the pump, or waiting for something that will put it there: arriving bytes need not.
        self._parked = True
        self._held_back = False
        self._reply_blocked = False
        self._reading_paused = False
        self._writing_paused = False
        self._lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start on a socket."""
        self.begin(cast("ByteTransport", transport))

    def begin(self, transport: ByteTransport) -> None:
        """Start listening to a transport; its place was reserved."""
        self._transport = transport
        self._transport.set_write_buffer_limits(self._options.write_bytes_high)
        self._broker.add(self)

    def data_received(self, data: bytes) -> None:
        """Queue what arrived; the pump does the rest."""
        if not self._parked:
            self._decoder.feed(data)
            if self._decoder.ready:
                self._parked = True
                self._pump.add(self)
        elif self.state is State.OPEN:
            self._decoder.feed(data)
            if self._decoder.unparsed_bytes > self._receive_bytes_max:
                self._pause_reading()
        elif self.state is not State.CLOSED:
            self._receive_from_stranger(data)

    def _receive_from_stranger(self, data: bytes) -> None:
        """Take CONNECT, and what a client sends behind it before it is let in."""
        if not self._stranger.hold(len(data)):
            self._broker.counters.connections_refused += 1
            self.close("clients that are not known yet sent too much", at_once=True)
            return
        self._decoder.feed(data)
        if self.state is State.FRESH:
            self.take_turn()
        elif self._decoder.unparsed_bytes > self._receive_bytes_max:
            self._pause_reading()

    def pause_writing(self) -> None:
        """The client does not keep up: its outbox stops here."""
        self._writing_paused = True

    def resume_writing(self) -> None:
        """The client caught up."""
        self._writing_paused = False
        if self._conversation:
            self._conversation.session.outbox.send_waiting()
        if self._reply_blocked:
            self._reply_blocked = False
            self._pump.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is gone.

        What the client sent before is still handled: there may be a DISCONNECT among it.
        """
        self._lost = True
        self._transport = None
        if self.state is State.CLOSED:
            self._broker.forget(self)
        elif self._reply_blocked or not (self._unhandled or self._decoder.ready):
            self.close("the connection was lost" if exc else "the client went away")

    # --- what the pump says

    def take_turn(self) -> bool:
        """Handle a slice of what arrived; return whether there is more."""
        if self.state is State.CLOSED or self._broker.draining:
            return False
        if self._must_wait_for_client():
            self._reply_blocked = True
            self._pause_reading()
            return False
        try:
            return self._handle_slice()
        except ProtocolError as error:
            self._broker.counters.protocol_errors += 1
            if isinstance(error, UnsupportedProtocolError):
                self.send(unsupported(error))
            self.close(str(error), code=error.code)
            return False

    def _handle_slice(self) -> bool:
        conversation = self._conversation
        if conversation is None:
            for first in self._decoder.packets(1):
                self._on_first(first)
            return False
        packets = self._unhandled or self._decoder.packets(self._options.slice_packets_max)
        if packets:
            self._since_s = self._pump.turn_s
            self._unhandled = conversation.handle(packets)
        if self._held_back or self.state is State.CLOSED:
            return False
        if self._unhandled or self._decoder.ready:
            return True
        self._parked = False
        self._resume_reading()
        if self._lost:
            self.close("the client went away")
        return False

    def _must_wait_for_client(self) -> bool:
        transport = self._transport
        if transport is None or not self._writing_paused:
            return False
        return transport.get_write_buffer_size() > self._options.reply_bytes_max

    def flush(self) -> None:
        """Hand everything sent since the last flush to the transport, in one write."""
        outgoing = self._outgoing
        if outgoing and self._transport is not None:
            self._transport.write(outgoing[0] if len(outgoing) == 1 else b"".join(outgoing))
        outgoing.clear()
        self._outgoing_bytes = 0

    def close_broken(self) -> None:
        """Handling this connection raised an error that nobody expected."""
        if self.state is State.AUTHENTICATING:
            self.refuse(Reason.UNAVAILABLE, "an internal error")
        else:
            self.close("an internal error", at_once=True)

    # --- how a client gets in

    def _on_first(self, packet: Packet) -> None:
        if not isinstance(packet, Connect):
            raise ProtocolError("the first packet is not CONNECT")
        self.connect = packet
        self.client_id = packet.client_id or new_id()
        if objection := objection_to_connect(packet, self._options):
            self.refuse(*objection)
        else:
            self.state = State.AUTHENTICATING
            self._broker.authentications.put_nowait(self)

    def credentials(self) -> MqttCredentials | None:
        """Return what the client brought, unless it is gone already."""
        if (connect := self.connect) is None or self.state is not State.AUTHENTICATING:
            return None
        return credentials_of(connect, self._transport)

    def open(self, identity: MqttIdentity, claim: Claim | None = None) -> None:
        """Let an authenticated client in, if there is room and nothing speaks against its will."""
        connect = self.connect
        if connect is None or self.state is not State.AUTHENTICATING:
            return
        broker = self._broker
        if identity.subjects & self.revoked:
            self.refuse(Reason.NOT_AUTHORIZED, "the credential was revoked")
            return
        if objection := objection_to_identity(identity, connect, broker.station):
            self.refuse(*objection)
            return
        if not broker.enter(self, identity, self.client_id):
            self.refuse(Reason.UNAVAILABLE, "the organization has too many connections")
            return
        session, present = broker.organization(identity.organization_id).sessions.open(
            identity,
            connect,
            self.client_id,
            may_keep=lambda topic_filter: broker.may_subscribe(identity, topic_filter),
            claim=claim,
        )
        broker.wills.void(session)
        self._begin_conversation(identity, connect, session, present=present)

    def _begin_conversation(
        self, identity: MqttIdentity, connect: Connect, session: Session, *, present: bool
    ) -> None:
        broker = self._broker
        conversation = Conversation(broker, identity, session, connect, link=self)
        self._conversation = conversation
        self.state = State.OPEN
        self._stranger.leave()
        self._log("mqtt_connection_opened", protocol=connect.level)
        self._since_s = self._told_s = broker.clock.monotonic()
        client_id = self.client_id
        self.send(welcome(connect, session, self._options, present=present, client_id=client_id))
        session.outbox.attach(self, conversation.dialect)
        broker.station.seen(identity)
        self._pump.add(self)

    def refuse(self, code: Reason, reason: str) -> None:
        """Answer CONNECT with a refusal and close."""
        if self.state is not State.CLOSED:
            self._broker.counters.connections_refused += 1
            self.send(refusal(self.connect, code, reason))
            self.close(reason)

    # --- what the rest of the server says

    @property
    def writable(self) -> bool:
        """Whether the client keeps up with what was written."""
        return not self._writing_paused and not self._lost

    @property
    def unacknowledged(self) -> int:
        """How many messages of this client wait for their acknowledgement."""
        return len(self._conversation.acknowledger) if self._conversation else 0

    def send(self, frame: bytes) -> None:
        """Write a packet, in one go with everything else of this round of the loop."""
        if self._transport is None or self.state is State.CLOSED:
            return
        if not self._outgoing:
            self._pump.flush_soon(self)
        self._outgoing.append(frame)
        self._outgoing_bytes += len(frame)
        if self._outgoing_bytes > self._options.write_bytes_high:
            self.flush()

    def hold_back(self, when_ready: Callable[[Callable[[], None]], None]) -> None:
        """Read and handle nothing more until ``when_ready`` calls back."""
        self._held_back = True
        self._pause_reading()
        when_ready(self._go_on)

    def _go_on(self) -> None:
        self._held_back = False
        if self.state is State.OPEN:
            self._pump.add(self)

    def stop_reading(self) -> None:
        """Read nothing more, ever: the server is draining."""
        self._parked = True
        self._pause_reading()

    def revoke(self, subject: str) -> None:
        """A subject of this client is revoked; who is gone altogether leaves no will."""
        if self._conversation is None:
            return
        owner_is_gone = self._conversation.identity.is_of(subject)
        self.close(
            "the credential was revoked",
            code=Reason.ADMINISTRATIVE,
            at_once=True,
            with_will=not owner_is_gone,
        )

    def close_slow(self) -> None:
        """The client's outbox is full; not at once: its will may find the next one slow."""
        asyncio.get_running_loop().call_soon(self._close_slow)

    def _close_slow(self) -> None:
        self.close(
            "the client is too slow for its subscriptions",
            code=Reason.QUOTA_EXCEEDED,
            at_once=True,
        )

    def close(
        self,
        reason: str,
        *,
        code: Reason = Reason.SUCCESS,
        at_once: bool = False,
        with_will: bool = True,
    ) -> None:
        """End the connection, flushing what was sent unless ``at_once``; harmless when repeated.

        An MQTT 5 client is told the ``code``, if it still takes something.
        """
        if self.state is State.CLOSED:
            return
        if self._conversation and (farewell := self._conversation.dialect.goodbye(code, reason)):
            self.send(farewell)
            at_once = at_once and not self.writable
        self.flush()
        self.state = State.CLOSED
        self._stranger.leave()
        self._parked = True
        self._unhandled = []
        self._since_s = self._broker.clock.monotonic()
        self._log("mqtt_connection_closed", reason=reason)
        if self._conversation:
            self._broker.leave(self, self._conversation.identity, self.client_id)
            self._conversation.end(with_will=with_will)
        if self._transport is None:
            self._broker.forget(self)
        elif at_once:
            self._transport.abort()
        else:
            end(self._transport, wait_for_peer=not self._broker.draining)

    def _log(self, event: str, **fields: object) -> None:
        identity = self._conversation.identity if self._conversation else None
        log.info(
            event,
            organization_id=identity.organization_id if identity else None,
            device_id=identity.device_id if identity else None,
            client_id=self.client_id,
            **fields,
        )

    def check(self, now_s: float) -> None:
        """Close what is overdue: CONNECT, a sign of life, or the peer's end after our last word."""
        waited_s = now_s - self._since_s
        if self.state is State.CLOSED:
            if waited_s > self._options.close_linger_s and self._transport:
                self._transport.abort()
        elif self.state is State.OPEN:
            self._check_keep_alive(now_s)
        elif waited_s > self._options.connect_timeout_s:
            self._broker.counters.timeouts += 1
            self.close("no complete CONNECT in time", at_once=True)

    def _check_keep_alive(self, now_s: float) -> None:
        if self.connect is None or self._conversation is None:
            return
        if self._since_s > self._told_s:
            self._told_s = self._since_s
            self._broker.station.seen(self._conversation.identity)
        not_listening = self._reading_paused and not self._reply_blocked
        next_look_s = now_s + self._options.sweep_interval_ms / 1_000
        if not_listening or self._lost:
            self._since_s = self._told_s = now_s
        elif 0 < self.connect.keep_alive_s * KEEP_ALIVE_GRACE < next_look_s - self._since_s:
            self._broker.counters.timeouts += 1
            silent = "the client was silent for too long"
            self.close(silent, code=Reason.KEEP_ALIVE_TIMEOUT, at_once=True)

    def _pause_reading(self) -> None:
        if not self._reading_paused and self._transport is not None:
            self._reading_paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._transport is not None and self._reading_paused:
            self._reading_paused = False
            self._transport.resume_reading()
