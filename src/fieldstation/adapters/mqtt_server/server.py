"""The built-in MQTT server: listeners, background work, and what the station asks of it."""

import asyncio
import errno
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import structlog

from fieldstation.adapters.mqtt_server.broker import Broker
from fieldstation.adapters.mqtt_server.connection import MqttConnection
from fieldstation.adapters.mqtt_server.handshakes import Handshakes
from fieldstation.adapters.mqtt_server.options import MqttCounters, MqttServerOptions
from fieldstation.adapters.mqtt_server.owners import Owners
from fieldstation.adapters.mqtt_server.packets import Publish, Reason
from fieldstation.adapters.mqtt_server.ports import (
    MqttCredentials,
    MqttIdentity,
    MqttNodes,
    MqttStation,
)
from fieldstation.adapters.mqtt_server.states import State
from fieldstation.adapters.mqtt_server.transport import ByteTransport
from fieldstation.core.clock import Clock
from fieldstation.core.errors import (
    Busy,
    Forbidden,
    QuotaExceeded,
    StationError,
    Unauthenticated,
)
from fieldstation.core.tasks import supervise

log = structlog.get_logger(__name__)

DRAIN_POLL_S = 0.005
NO_SUCH_ADDRESS = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


class MqttServer:
    """Serves MQTT clients in front of an ``MqttStation``.

    ``start`` loads and binds; ``run`` accepts and works until ``stop``; ``drain`` before ``stop``
    settles what was taken.
    """

    def __init__(
        self,
        options: MqttServerOptions,
        station: MqttStation,
        clock: Clock,
        *,
        tls: ssl.SSLContext | None = None,
        nodes: MqttNodes | None = None,
    ) -> None:
        self._options = options
        self._station = station
        self._nodes = nodes
        self._broker = Broker(options, station, clock, nodes)
        self._owners = Owners(self._broker, nodes) if nodes is not None else None
        self._tls = tls
        self._handshakes = Handshakes(
            per_address_max=options.handshakes_per_address_max, wait_s=options.handshake_wait_s
        )
        self._listeners: list[tuple[socket.socket, ssl.SSLContext | None]] = []
        self._accepting: list[asyncio.Task[None]] = []
        self._stopped = asyncio.Event()

    @property
    def counters(self) -> MqttCounters:
        """What happened so far."""
        return self._broker.counters

    @property
    def is_open(self) -> bool:
        """Whether connections are accepted."""
        return bool(self._listeners) and not self._broker.draining

    @property
    def port(self) -> int:
        """The port without TLS."""
        return self._port(tls=False)

    @property
    def tls_port(self) -> int:
        """The port with TLS."""
        return self._port(tls=True)

    def _port(self, *, tls: bool) -> int:
        return next(
            listener.getsockname()[1]
            for listener, context in self._listeners
            if (context is not None) == tls
        )

    async def start(self) -> None:
        """Load what was kept and bind the ports. Raises ``OSError`` when one is taken."""
        if self._nodes is not None:
            await self._nodes.show_life()
        for kept in await self._station.load_retained():
            self._broker.organization(kept.organization_id).space.retain(kept)
        for session in await self._station.load_sessions():
            self._broker.restore(session)
        try:
            await self._listen(self._options.port, None)
            if self._tls is not None:
                await self._listen(self._options.tls_port, self._tls)
        except OSError:
            self._stop_accepting()
            raise

    async def _listen(self, port: int, context: ssl.SSLContext | None) -> None:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(
            self._options.host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        addresses = sorted({(entry[0], str(entry[4][0])) for entry in found})
        for family, address in addresses:
            try:
                listener = socket.create_server(
                    (address, port), family=family, backlog=self._options.accept_backlog
                )
            except OSError as error:
                # Many containers name ::1 for localhost and have no IPv6.
                if error.errno in NO_SUCH_ADDRESS and self._listeners and len(addresses) > 1:
                    continue
                raise
            listener.setblocking(False)
            port = listener.getsockname()[1]
            self._listeners.append((listener, context))

    async def run(self) -> None:
        """Accept connections and do the background work until ``stop``."""
        async with asyncio.TaskGroup() as tasks:
            background = [
                tasks.create_task(supervise(name, work), name=name) for name, work in self._work()
            ]
            background += [
                tasks.create_task(
                    supervise("mqtt-authenticate", self._authenticate_forever),
                    name=f"mqtt-authenticate-{number}",
                )
                for number in range(self._options.authentications_max)
            ]
            self._accepting = [
                tasks.create_task(
                    supervise("mqtt-accept", partial(self._accept_forever, listener, context)),
                    name="mqtt-accept",
                )
                for listener, context in self._listeners
            ]
            await self._stopped.wait()
            for task in background + self._accepting:
                task.cancel()

    def _work(self) -> list[tuple[str, Callable[[], Awaitable[None]]]]:
        broker, owners = self._broker, self._owners
        work: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            ("mqtt-sweep", self._sweep_forever),
            ("mqtt-keeper", broker.keeper.write_forever),
        ]
        if owners is not None:
            work.append(("mqtt-node", owners.show_life_forever))
            work.append(("mqtt-handovers", owners.hand_over_forever))
        if broker.peers is not None:
            work.append(("mqtt-retained", broker.peers.catch_up_forever))
        return work

    async def drain(self) -> None:
        """Accept and read nothing more, wait until all that was taken is settled, and close.

        No will is published. Waits at most ``drain_timeout_s``; what is unsettled then was never
        acknowledged.
        """
        self._stop_accepting()
        self._broker.draining = True
        for connection in tuple(self._broker.connections):
            connection.stop_reading()
        give_up_at_s = self._broker.clock.monotonic() + self._options.drain_timeout_s
        await self._wait_while(self._unsettled, give_up_at_s)
        self._close_connections()
        await self._wait_while(lambda: len(self._broker.keeper), give_up_at_s)
        if self._nodes is not None:
            with suppress(Busy):
                await self._nodes.say_goodbye()

    async def _wait_while(self, waiting: Callable[[], int], give_up_at_s: float) -> None:
        clock = self._broker.clock
        # Polled: an event for it would cost every acknowledgement of the server's whole life.
        while waiting() and clock.monotonic() < give_up_at_s:  # noqa: ASYNC110
            await asyncio.sleep(DRAIN_POLL_S)
        if left := waiting():
            log.warning("mqtt_drain_gave_up", unsettled=left)

    def _unsettled(self) -> int:
        return sum(connection.unacknowledged for connection in self._broker.connections)

    async def stop(self) -> None:
        """Close everything and let ``run`` return; harmless when repeated."""
        self._stop_accepting()
        self._broker.draining = True
        self._close_connections()
        self._stopped.set()

    def _stop_accepting(self) -> None:
        for task in self._accepting:
            task.cancel()
        for listener, _ in self._listeners:
            listener.close()
        self._listeners = []

    def _close_connections(self) -> None:
        for connection in tuple(self._broker.connections):
            connection.close(
                "the station is shutting down", code=Reason.SHUTTING_DOWN, with_will=False
            )

    def attach(self, transport: ByteTransport) -> MqttConnection:
        """Serve a client on a transport that somebody else accepted, who feeds what is returned.

        Raises ``Busy`` when ``connections_max`` is reached.
        """
        if not self._broker.room.is_set() or self._broker.draining:
            raise Busy("the MQTT server takes no more connections now")
        self._broker.reserve()
        connection = MqttConnection(self._broker)
        connection.begin(transport)
        return connection

    def publish(self, organization_id: str, topic: str, payload: bytes, *, qos: int) -> int:
        """Send a message of the station to an organization's subscribers.

        Return how many sessions it went to.
        """
        return self._broker.organization(organization_id).space.forward(
            Publish(topic, payload, 0, qos)
        )

    def revoke(self, subject: str) -> int:
        """Close every connection of this key, device or user at once; wills that wait are void.

        Return how many.
        """
        for connection in self._broker.connections:
            if connection.state is State.AUTHENTICATING:
                connection.revoked.add(subject)
        ended = self._broker.connections_of(subject)
        for connection in ended:
            self._broker.counters.revoked += 1
            connection.revoke(subject)
        self._broker.wills.revoke(subject)
        return len(ended)

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(self._options.sweep_interval_ms / 1_000)
            self._broker.sweep()

    async def _authenticate_forever(self) -> None:
        while True:
            connection = await self._broker.authentications.get()
            # An error that nobody expected must refuse one client, not end the server for all.
            (error,) = await asyncio.gather(self._admit(connection), return_exceptions=True)
            if error is not None:
                log.error("mqtt_authentication_broke", exc_info=error)
                connection.close_broken()

    async def _admit(self, connection: MqttConnection) -> None:
        credentials = connection.credentials()
        if credentials is None:
            return
        outcome = await self._authenticate(credentials)
        if not isinstance(outcome, MqttIdentity):
            connection.refuse(outcome, f"refused as {outcome.name}")
        elif self._owners is None:
            connection.open(outcome)
        else:
            try:
                await self._owners.let_in(connection, outcome)
            except Busy as busy:
                connection.refuse(Reason.UNAVAILABLE, busy.detail)

    async def _authenticate(self, credentials: MqttCredentials) -> MqttIdentity | Reason:
        try:
            async with asyncio.timeout(self._options.connect_timeout_s):
                return await self._station.authenticate(credentials)
        except Unauthenticated:
            return Reason.BAD_CREDENTIALS
        except Forbidden:
            return Reason.NOT_AUTHORIZED
        except QuotaExceeded:
            return Reason.QUOTA_EXCEEDED
        except (StationError, TimeoutError):
            return Reason.UNAVAILABLE

    async def _accept_forever(
        self, listener: socket.socket, context: ssl.SSLContext | None
    ) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._broker.room.wait()
                try:
                    accepted, address = await loop.sock_accept(listener)
                except OSError as error:
                    # Most likely out of file descriptors: give others time to close some.
                    self.counters.accepts_failed += 1
                    log.warning("mqtt_accept_failed", error=str(error))
                    await asyncio.sleep(self._options.accept_backoff_ms / 1_000)
                    continue
                self._broker.reserve()
                adoption = self._adopt(accepted, str(address[0]), context)
                tasks.create_task(adoption, name="mqtt-adopt")

    async def _adopt(
        self, accepted: socket.socket, address: str, context: ssl.SSLContext | None
    ) -> None:
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        loop = asyncio.get_running_loop()
        try:
            if context is None:
                await loop.connect_accepted_socket(lambda: MqttConnection(self._broker), accepted)
                return
            async with self._handshakes.place(address):
                await loop.connect_accepted_socket(
                    lambda: MqttConnection(self._broker),
                    accepted,
                    ssl=context,
                    ssl_handshake_timeout=self._options.handshake_timeout_s,
                )
        except OSError as error:
            accepted.close()
            self._broker.release()
            log.info("mqtt_handshake_failed", error=str(error))
