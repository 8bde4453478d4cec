"""What will be committed together: readings in columns, and who waits for them."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from fieldstation.core.errors import StationError
from fieldstation.domains.telemetry.catalog import Series
from fieldstation.domains.telemetry.exchanges import Exchange
from fieldstation.domains.telemetry.ports import Detail, Refusal, Variant


class CountedReceipt(Protocol):
    """A connection that only needs to know how many of its messages are committed."""

    def settle(self, count: int) -> None: ...

    def fail(self, count: int) -> None: ...


class Heartbeat(NamedTuple):
    """A sign of life that is committed with the readings around it."""

    organization_id: str
    device_id: str
    payload: bytes
    received_us: int


@dataclass(slots=True)
class Waiter:
    """One request: its readings stand at ``[start, start + count)`` of the group."""

    future: asyncio.Future[bytes]
    start: int
    count: int


@dataclass(slots=True)
class Group:
    """What will be committed together; the columns run in parallel, the rest is sparse."""

    series: list[Series] = field(default_factory=list)
    ts_us: list[int] = field(default_factory=list)
    value: list[float] = field(default_factory=list)
    flags: list[int] = field(default_factory=list)
    details: dict[int, Detail] = field(default_factory=dict)
    new_variants: dict[int, Variant] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)
    heartbeats: list[Heartbeat] = field(default_factory=list)
    begun: list[Exchange] = field(default_factory=list)
    ended: list[Exchange] = field(default_factory=list)
    counted: dict[CountedReceipt, int] = field(default_factory=dict)
    waiters: list[Waiter] = field(default_factory=list)
    by_organization: dict[str, int] = field(default_factory=dict)
    entries: int = 0
    scored: bool = False

    def __len__(self) -> int:
        return len(self.ts_us)

    def without_waiters(self) -> "Group":
        """Return what must be tried again when a commit failed: all but the requests, who were
        told."""
        dropped = {
            index
            for waiter in self.waiters
            for index in range(waiter.start, waiter.start + waiter.count)
        }
        kept = [index for index in range(len(self)) if index not in dropped]
        return Group(
            series=[self.series[index] for index in kept],
            ts_us=[self.ts_us[index] for index in kept],
            value=[self.value[index] for index in kept],
            flags=[self.flags[index] for index in kept],
            details={n: self.details[i] for n, i in enumerate(kept) if i in self.details},
            new_variants={
                n: self.new_variants[i] for n, i in enumerate(kept) if i in self.new_variants
            },
            refusals=self.refusals,
            heartbeats=self.heartbeats,
            begun=self.begun,
            ended=self.ended,
            counted=self.counted,
            entries=self.entries - len(self.waiters),
            scored=self.scored,
        )

    def fail_waiters(self, error: StationError) -> None:
        """Tell the requests that nothing was stored for them."""
        for waiter in self.waiters:
            if not waiter.future.done():
                waiter.future.set_exception(error)

    def waiting_by_organization(self) -> Counter[str]:
        """Count the readings of requests."""
        counts: Counter[str] = Counter()
        for waiter in self.waiters:
            counts[self.series[waiter.start].key.organization_id] += waiter.count
        return counts
