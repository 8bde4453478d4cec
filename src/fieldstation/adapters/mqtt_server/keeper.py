"""Saving what must survive a restart: one commit for all that waits."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Protocol

import structlog

from fieldstation.adapters.mqtt_server.options import MqttServerOptions
from fieldstation.adapters.mqtt_server.ports import MqttStation
from fieldstation.core.errors import Busy
from fieldstation.domains.messaging.schemas import Change

log = structlog.get_logger(__name__)


class SavedReceipt(Protocol):
    """Whoever waits for changes to be saved."""

    def saved(self, count: int) -> None:
        """The oldest ``count`` things it waits for are committed."""
        ...


class Then:
    """A receipt that calls back."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback = callback

    def saved(self, count: int) -> None:  # noqa: ARG002 - it waits for one thing only
        self._callback()


class Keeper:
    """Commits changes to retained messages and sessions in order.

    While the station is busy they wait, and publishers with them.
    """

    def __init__(self, station: MqttStation, options: MqttServerOptions) -> None:
        self._station = station
        self._waiting_max = options.changes_waiting_max
        self._retry_s = options.changes_retry_ms / 1_000
        self._waiting: list[Change] = []
        self._receipts: list[SavedReceipt] = []
        self._saving = 0
        self._arrived = asyncio.Event()
        self._blocked: list[Callable[[], None]] = []
        self.position = 0
        """How many changes were ever added: whether something added any."""

    def __len__(self) -> int:
        return len(self._waiting) + self._saving

    @property
    def full(self) -> bool:
        """Whether publishers whose messages are kept must wait."""
        return len(self) >= self._waiting_max

    def when_ready(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` once, after the next commit."""
        self._blocked.append(wake)

    def add(self, change: Change) -> None:
        """Have a change committed."""
        self.position += 1
        self._waiting.append(change)
        self._arrived.set()

    def tell(self, receipt: SavedReceipt) -> None:
        """Tell the receipt when everything added so far is committed; never at once."""
        self._receipts.append(receipt)
        self._arrived.set()

    async def write_forever(self) -> None:
        """Commit whatever waits whenever the last commit is done."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            changes, receipts = self._waiting, self._receipts
            self._waiting = []
            self._receipts = []
            self._saving = len(changes)
            if changes:
                await self._save(changes)
            self._saving = 0
            for receipt, count in Counter(receipts).items():
                receipt.saved(count)
            blocked = self._blocked
            self._blocked = []
            for wake in blocked:
                wake()

    async def _save(self, changes: list[Change]) -> None:
        while True:
            try:
                await self._station.save(changes)
            except Busy as busy:
                log.warning("mqtt_changes_not_saved", changes=len(changes), reason=busy.detail)
                await asyncio.sleep(self._retry_s)
            else:
                return
