"""Saving what must survive a restart: one commit for all that waits."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from typing import Protocol

import structlog

from fieldstation.adapters.mqtt_server.options import MqttCounters, MqttServerOptions
from fieldstation.adapters.mqtt_server.ports import MqttStation
from fieldstation.core.errors import Busy
from fieldstation.domains.messaging.schemas import Change, MessageState, Retained

log = structlog.get_logger(__name__)

CHANGE_BYTES = 256
"""What a change takes in memory beside its payload, about."""


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

    While the station is busy they wait, and with them the publishers of an organization that has
    its half of the room, or of all when there is none. A change that cannot be saved is dropped and
    logged.
    """

    def __init__(
        self, station: MqttStation, options: MqttServerOptions, counters: MqttCounters
    ) -> None:
        self._station = station
        self._counters = counters
        self._waiting_max = options.changes_waiting_max
        self._bytes_max = options.changes_bytes_max
        self._retry_s = options.changes_retry_ms / 1_000
        self._waiting: list[Change] = []
        self._receipts: list[SavedReceipt] = []
        self._saving: list[Change] = []
        self._arrived = asyncio.Event()
        self._blocked: list[Callable[[], None]] = []
        self._bytes = 0
        self._by_organization: dict[str, tuple[int, int]] = {}
        self.when_retained: Callable[[Retained], None] | None = None
        """Told of every committed change of what a topic retains."""
        self.position = 0
        """How many changes were ever added: whether something added any."""

    def __len__(self) -> int:
        return len(self._waiting) + len(self._saving)

    def is_full(self, organization_id: str) -> bool:
        """Whether an organization's publishers and subscribers of what is kept must wait."""
        mine, my_bytes = self._by_organization.get(organization_id, (0, 0))
        return (
            len(self) >= self._waiting_max
            or self._bytes >= self._bytes_max
            or mine >= self._waiting_max // 2
            or my_bytes >= self._bytes_max // 2
        )

    def when_ready(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` once, after the next commit."""
        self._blocked.append(wake)

    def add(self, change: Change) -> None:
        """Have a change committed."""
        self.position += 1
        self._waiting.append(change)
        self._count(change, 1)
        self._arrived.set()

    def tell(self, receipt: SavedReceipt) -> None:
        """Tell the receipt when everything added so far is committed; never at once."""
        self._receipts.append(receipt)
        self._arrived.set()

    async def flushed(self) -> None:
        """Wait until everything added so far is committed."""
        done = asyncio.Event()
        self.tell(Then(done.set))
        await done.wait()

    async def write_forever(self) -> None:
        """Commit whatever waits whenever the last commit is done."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            self._saving += self._waiting
            self._waiting = []
            receipts = self._receipts
            self._receipts = []
            await self._save(self._saving)
            for change in self._saving:
                self._count(change, -1)
            self._saving = []
            for receipt, count in Counter(receipts).items():
                self._tell(receipt, count)
            blocked = self._blocked
            self._blocked = []
            for wake in blocked:
                wake()

    def _tell(self, receipt: SavedReceipt, count: int) -> None:
        try:
            receipt.saved(count)
        except Exception:  # a defect of one connection must not cost the others their answers
            log.exception("mqtt_receipt_broke")

    async def _save(self, changes: list[Change]) -> None:
        """Save in order; what cannot be saved is found by halving."""
        parts = deque([changes] if changes else [])
        while parts:
            part = parts.popleft()
            try:
                await self._save_or_wait(part)
            except Exception:  # whatever it is, it costs one change and not the station
                if len(part) == 1:
                    self._counters.changes_dropped += 1
                    log.exception("mqtt_change_dropped", change=name_of(part[0]))
                else:
                    middle = len(part) // 2
                    parts.extendleft((part[middle:], part[:middle]))
            else:
                self._tell_retained(part)

    async def _save_or_wait(self, changes: list[Change]) -> None:
        while True:
            try:
                await self._station.save(changes)
            except Busy as busy:
                log.warning("mqtt_changes_not_saved", changes=len(changes), reason=busy.detail)
                await asyncio.sleep(self._retry_s)
            else:
                return

    def _tell_retained(self, changes: list[Change]) -> None:
        if self.when_retained is None:
            return
        for change in changes:
            if isinstance(change, Retained):
                self.when_retained(change)

    def _count(self, change: Change, sign: int) -> None:
        size = sign * size_of(change)
        organization_id = change.organization_id
        count, held_bytes = self._by_organization.get(organization_id, (0, 0))
        self._bytes += size
        if count + sign:
            self._by_organization[organization_id] = (count + sign, held_bytes + size)
        else:
            del self._by_organization[organization_id]


def size_of(change: Change) -> int:
    if isinstance(change, Retained):
        return CHANGE_BYTES + len(change)
    if isinstance(change, MessageState) and change.message is not None:
        return CHANGE_BYTES + len(change.message)
    return CHANGE_BYTES


def name_of(change: Change) -> str:
    """Name a change without its payload, which is its owner's."""
    client = change.topic if isinstance(change, Retained) else change.client_id
    return f"{type(change).__name__} {change.organization_id} {client}"
