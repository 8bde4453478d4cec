"""Deletes what is older than the rules keep: in slices, a while at a time."""

import asyncio
import math
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import structlog

from fieldstation.core.clock import Clock
from fieldstation.core.settings import Settings
from fieldstation.db.database import Database
from fieldstation.db.engines import telemetry_url
from fieldstation.domains.identity.service import organizations
from fieldstation.domains.retention.desk import RetentionDesk
from fieldstation.domains.retention.keeping import Keeping
from fieldstation.domains.retention.policies import ALL, Cutoffs, Kept, Policy, cutoffs
from fieldstation.domains.telemetry.ports import ReadingStore, SeriesRow

log = structlog.get_logger(__name__)

INTERVAL_S = 10.0
RUN_S = 5.0
PASS_INTERVAL_S = 3600.0
SERIES_PER_SLICE = 1_000

Work = tuple[Cutoffs, list[int]]


@dataclass(frozen=True, slots=True)
class Retention:
    """What a node has of retention."""

    keeping: Keeping
    desk: RetentionDesk
    expiry: "Expiry"


def open_retention(
    database: Database, store: ReadingStore, *, clock: Clock, settings: Settings
) -> Retention:
    """Put a node's retention together; the disk is known where readings are in a file."""
    default = Kept(settings.retention.raw_days, settings.retention.rollup_days)
    keeping = Keeping(database, clock, default)
    url = telemetry_url(settings)
    disk = Path(url.database or "").parent if url.get_backend_name() == "sqlite" else None
    desk = RetentionDesk(
        database,
        store,
        clock=clock,
        default=default,
        disk=disk,
        station_organization=settings.station.organization,
    )
    return Retention(keeping, desk, Expiry(database, store, keeping, clock))


@dataclass(slots=True)
class Pass:
    """One time through an organization's series under a policy, and when it was worked on last."""

    policy: Policy
    began_s: float
    worked_s: float
    left: deque[Work]


class Expiry:
    """Goes through the series of every organization that keeps something for a limited time: once
    an hour, and when its rules change or come into force.

    Between two times it costs nothing; half of the time of a run is left to the intake.
    """

    def __init__(
        self, database: Database, store: ReadingStore, keeping: Keeping, clock: Clock
    ) -> None:
        self._database = database
        self._store = store
        self._keeping = keeping
        self._clock = clock
        self._passes: dict[str, Pass] = {}

    async def run(self) -> None:
        """Delete for five seconds or until nothing is due; the next run goes on from there.

        Raises ``Busy``.
        """
        until_s = self._clock.monotonic() + RUN_S
        await self._keeping.look()
        due = [name for name in await self._organizations() if self._is_due(name)]
        due.sort(key=self._worked_s)  # whoever has much to delete lets others have their turn
        if due:
            await self._keeping.look(members=True)
        for organization_id in due:
            policy = self._keeping.in_force(organization_id)
            if policy is not None:
                await self._go_on(organization_id, policy, until_s)
            if self._clock.monotonic() >= until_s:
                return

    async def _organizations(self) -> list[str]:
        """Return who may have something that is too old, and forget who is gone."""
        found = self._keeping.organizations()
        if self._keeping.default_deletes:
            async with self._database.reading() as session:
                found = await organizations.organization_ids(session)
        self._passes = {name: self._passes[name] for name in found if name in self._passes}
        return found

    def _is_due(self, organization_id: str) -> bool:
        policy, last = self._keeping.in_force(organization_id), self._passes.get(organization_id)
        if policy is None or last is None:
            return policy is not None
        is_new = policy is not last.policy or bool(last.left)
        return is_new or self._clock.monotonic() - last.began_s >= PASS_INTERVAL_S

    def _worked_s(self, organization_id: str) -> float:
        last = self._passes.get(organization_id)
        return -math.inf if last is None else last.worked_s

    async def _go_on(self, organization_id: str, policy: Policy, until_s: float) -> None:
        """Begin an organization's series, or go on with them while its policy is the same."""
        current = self._passes.get(organization_id)
        if current is None or current.policy is not policy or not current.left:
            series = await self._store.find_series(organization_id)
            left = await asyncio.to_thread(sort_work, policy, series, self._clock.now_us())
            began_s = self._clock.monotonic()
            current = Pass(policy, began_s, began_s, left)
            self._passes[organization_id] = current
        while current.left and self._keeping.in_force(organization_id) is policy:
            before, series_ids = current.left[0]
            slice_began_s = self._clock.monotonic()
            if not await self._store.expire_slice(series_ids, **before._asdict()):
                current.left.popleft()
            now_s = current.worked_s = self._clock.monotonic()
            if now_s >= until_s:
                return
            await asyncio.sleep(now_s - slice_began_s)
        if not current.left:
            log.info("retention_applied", organization=organization_id)


def sort_work(policy: Policy, series: Iterable[SeriesRow], now_us: int) -> deque[Work]:
    """Put together series of which the same is too old, so many as one call takes."""
    by_cutoffs: defaultdict[Cutoffs, list[int]] = defaultdict(list)
    for row in series:
        kept = policy.kept(row.key.device_id, row.key.sensor_type)
        by_cutoffs[cutoffs(kept, now_us)].append(row.id)
    return deque(
        (before, series_ids[at : at + SERIES_PER_SLICE])
        for before, series_ids in by_cutoffs.items()
        if before != ALL
        for at in range(0, len(series_ids), SERIES_PER_SLICE)
    )
