"""Sees to it that one node serves a client id: asks before a client is let in, hands over when
another node asks."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog

from fieldstation.adapters.mqtt_server.broker import Broker
from fieldstation.adapters.mqtt_server.packets import Connect, Reason
from fieldstation.adapters.mqtt_server.ports import MqttIdentity, MqttNodes
from fieldstation.core.errors import Busy
from fieldstation.domains.messaging.schemas import Claim, Handover, SessionEnded

if TYPE_CHECKING:
    from fieldstation.adapters.mqtt_server.connection import MqttConnection

log = structlog.get_logger(__name__)

POLL_INTERVAL_S = 0.5
SETTLE_S_MAX = 1.0
SETTLE_LOOK_S = 0.01


class Owners:
    """What several nodes agree on for each client id; one connection of it at a time."""

    def __init__(self, broker: Broker, nodes: MqttNodes) -> None:
        self._broker = broker
        self._nodes = nodes
        self._turns: dict[tuple[str, str], tuple[asyncio.Lock, int]] = {}
        self._wanted = asyncio.Event()
        nodes.when_wanted(self._wanted.set)

    async def let_in(self, connection: "MqttConnection", identity: MqttIdentity) -> None:
        """Own the client id, then let its client in. Raises ``Busy``."""
        connect = connection.connect
        if connect is None:
            return
        key = (identity.organization_id, connection.client_id)
        async with self._turn(key):
            claim = await self._claim(key, connect)
            self._evict(*key, epoch=claim.epoch)
            sessions = self._broker.organization(key[0]).sessions
            sessions.adopt(key[1], claim)
            connection.open(identity, claim)
            if sessions.find(key[1]) is None:
                self._broker.keeper.add(SessionEnded(*key, epoch=claim.epoch))

    @asynccontextmanager
    async def _turn(self, key: tuple[str, str]) -> AsyncGenerator[None, None]:
        lock, users = self._turns.get(key, (asyncio.Lock(), 0))
        self._turns[key] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._turns.pop(key)
            if users > 1:
                self._turns[key] = (lock, users - 1)

    async def _claim(self, key: tuple[str, str], connect: Connect) -> Claim:
        """Claim on the ground of what is remembered here, again if that changed meanwhile."""
        sessions = self._broker.organization(key[0]).sessions
        while True:
            held = sessions.held_epoch(key[1])
            try:
                claim = await self._nodes.claim(*key, held_epoch=held, fresh=connect.clean_session)
            except Busy:
                # Nobody can be asked. What is known here goes on; what is not kept needs nobody.
                if held is None and sessions.expiry_of(connect):
                    raise
                return Claim(held or 0, existed=held is not None)
            if sessions.held_epoch(key[1]) == held:
                return claim

    def _evict(
        self, organization_id: str, client_id: str, *, epoch: int
    ) -> "MqttConnection | None":
        """Close the connection of a client whose session is another by now."""
        organization = self._broker.organization(organization_id)
        session = organization.sessions.find(client_id)
        connection = organization.clients.get(client_id)
        if session is None or connection is None or session.epoch == epoch:
            return None
        self._broker.counters.takeovers += 1
        connection.close("another connection took over this client id", code=Reason.TAKEN_OVER)
        return connection

    async def show_life_forever(self) -> None:
        """Be known to be there; a database that is away only delays it."""
        while True:
            try:
                await self._nodes.show_life()
            except Busy as error:
                log.warning("mqtt_node_not_seen", reason=error.detail)
            await asyncio.sleep(2 * POLL_INTERVAL_S)

    async def hand_over_forever(self) -> None:
        """Give up what other nodes took, at once if that is heard of, else twice a second."""
        while True:
            try:
                if wanted := await self._nodes.wanted():
                    await self._give_up(wanted)
                    await self._nodes.handed_over(wanted)
            except Busy as error:
                log.warning("mqtt_handovers_delayed", reason=error.detail)
            try:
                async with asyncio.timeout(POLL_INTERVAL_S):
                    await self._wanted.wait()
            except TimeoutError:
                continue
            self._wanted.clear()

    async def _give_up(self, wanted: Sequence[Handover]) -> None:
        """Close, forget, and wait until what the clients sent is committed and all is saved."""
        closed: list[MqttConnection] = []
        for each in wanted:
            organization = self._broker.organization(each.organization_id)
            session = organization.sessions.find(each.client_id)
            if session is None or session.epoch >= each.epoch:
                continue
            self._broker.counters.handed_over += 1
            if connection := self._evict(each.organization_id, each.client_id, epoch=each.epoch):
                closed.append(connection)
            organization.sessions.give_up(each.client_id)
            if not each.fresh:
                self._broker.wills.void(session)
        try:
            async with asyncio.timeout(SETTLE_S_MAX):
                while any(connection.unacknowledged for connection in closed):  # noqa: ASYNC110 - as ``drain``
                    await asyncio.sleep(SETTLE_LOOK_S)
                await self._broker.keeper.flushed()
        except TimeoutError:
            log.warning("mqtt_handed_over_unsaved", sessions=len(wanted))
