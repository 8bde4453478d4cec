"""Saving retained messages: one commit for all that wait."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Protocol

import structlog

from fieldstation.adapters.mqtt_server.options import MqttServerOptions
from fieldstation.adapters.mqtt_server.ports import MqttStation, RetainedMessage
from fieldstation.core.errors import Busy

log = structlog.get_logger(__name__)


class SavedReceipt(Protocol):
    """Whoever waits for its retained messages to be saved."""

    def saved(self, count: int) -> None:
        """The oldest ``count`` unsaved ones are committed."""
        ...


class RetainedWriter:
    """Commits changes to retained messages in order.

    While the station is busy they wait, and publishers with them.
    """

    def __init__(self, station: MqttStation, options: MqttServerOptions) -> None:
        self._station = station
        self._waiting_max = options.retained_waiting_max
        self._retry_s = options.retained_retry_ms / 1_000
        self._waiting: list[tuple[RetainedMessage, SavedReceipt]] = []
        self._saving = 0
        self._arrived = asyncio.Event()
        self._blocked: list[Callable[[], None]] = []

    def __len__(self) -> int:
        return len(self._waiting) + self._saving

    @property
    def full(self) -> bool:
        """Whether publishers of retained messages must wait."""
        return len(self) >= self._waiting_max

    def when_ready(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` once, after the next commit."""
        self._blocked.append(wake)

    def submit(self, change: RetainedMessage, receipt: SavedReceipt) -> None:
        """Have a change committed; the receipt is told."""
        self._waiting.append((change, receipt))
        self._arrived.set()

    async def write_forever(self) -> None:
        """Commit whatever waits whenever the last commit is done."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            batch = self._waiting
            self._waiting = []
            self._saving = len(batch)
            await self._save([change for change, _ in batch])
            self._saving = 0
            for receipt, count in Counter(receipt for _, receipt in batch).items():
                receipt.saved(count)
            blocked = self._blocked
            self._blocked = []
            for wake in blocked:
                wake()

    async def _save(self, changes: list[RetainedMessage]) -> None:
        while True:
            try:
                await self._station.save_retained(changes)
            except Busy as busy:
                log.warning("mqtt_retained_not_saved", changes=len(changes), reason=busy.detail)
                await asyncio.sleep(self._retry_s)
            else:
                return
