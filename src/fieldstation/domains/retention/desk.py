"""Where rules are asked for and replaced, with what they come to on the disk."""

import asyncio
import shutil
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from fieldstation.core.clock import EPOCH, Clock, instant_to_us, us_to_instant
from fieldstation.db.database import Database, Session
from fieldstation.domains.identity.schemas.callers import Caller
from fieldstation.domains.identity.service import organizations
from fieldstation.domains.retention import service
from fieldstation.domains.retention.measuring import Measured, measure, measure_removal
from fieldstation.domains.retention.policies import Kept, Policy, Rule
from fieldstation.domains.retention.projecting import Part, after, days_until, parts_of, steady
from fieldstation.domains.retention.schemas import (
    DiskForecast,
    Forecast,
    Removal,
    RetentionPlan,
    RetentionRead,
    RetentionReplace,
)
from fieldstation.domains.telemetry.ports import ReadingStore
from fieldstation.web.etags import ANY, Expected

MEASURED_FOR_S = 600.0
MEASURED_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Measurement:
    """What an organization's readings take, and when that was measured."""

    at_us: int
    at_s: float
    kinds: Sequence[Measured]


class RetentionDesk:
    """One on each node. Measures for one request at a time; the next one finds what that found.

    ``disk`` is where the readings of this station's SQLite file are; None beside a database server.
    """

    def __init__(
        self,
        database: Database,
        store: ReadingStore,
        *,
        clock: Clock,
        default: Kept,
        disk: Path | None,
        station_organization: str | None,
    ) -> None:
        self._database = database
        self._store = store
        self._clock = clock
        self._default = default
        self._disk = disk
        self._station_organization = station_organization
        self._measuring = asyncio.Lock()
        self._measured: OrderedDict[tuple[str, tuple[Rule, ...]], Measurement] = OrderedDict()

    async def read(self, caller: Caller) -> RetentionRead:
        """Return the rules and their forecast. Raises ``Busy``."""
        async with self._database.reading() as session:
            policy = await service.load_policy(
                session, caller.organization_id, default=self._default
            )
        forecast = await self._forecast(caller.organization_id, policy)
        return RetentionRead(**dict(service.shown(policy)), forecast=forecast)

    async def replace(
        self, caller: Caller, form: RetentionReplace, *, dry_run: bool, match: Expected = ANY
    ) -> RetentionPlan:
        """Put a list in place of the one that stands; with ``dry_run`` only say what that deletes.

        What is deleted is measured first, so that nothing is stored when that fails. Raises
        ``Invalid``, ``PreconditionFailed``, ``Busy``.
        """
        organization_id = caller.organization_id
        async with self._database.reading() as session:
            policy = await self._plan(session, organization_id, form, match)
        forecast = await self._forecast(organization_id, policy)
        at_us = max(instant_to_us(policy.applies_at or EPOCH), self._clock.now_us())
        async with self._measuring:
            old = await measure_removal(self._store, policy, organization_id, at_us=at_us)
        if not dry_run:
            async with self._database.transaction() as session:
                await organizations.lock(session, organization_id)
                policy = await self._plan(session, organization_id, form, match)
                await service.store(session, caller, policy, now=self._clock.now())
        return RetentionPlan(
            **dict(service.shown(policy)),
            forecast=forecast,
            removes=Removal(
                series=old.series, readings=old.readings, bytes=old.raw_bytes + old.rollup_bytes
            ),
            dry_run=dry_run,
        )

    async def _plan(
        self, session: Session, organization_id: str, form: RetentionReplace, match: Expected
    ) -> Policy:
        current = await service.load_policy(session, organization_id, default=self._default)
        match.demand(service.shown(current))
        return await service.planned(
            session, current, organization_id, form.rules, now=self._clock.now()
        )

    async def _forecast(self, organization_id: str, policy: Policy) -> Forecast:
        found = await self._measure(organization_id, policy)
        parts = list(parts_of(found.kinds))
        limit = steady(parts)
        readings = sum(kind.readings for kind in found.kinds)
        raw_bytes = sum(kind.raw_bytes for kind in found.kinds)
        return Forecast(
            measured_at=us_to_instant(found.at_us),
            series=sum(kind.series for kind in found.kinds),
            readings=round(readings),
            readings_per_day=round(sum(kind.readings_per_day for kind in found.kinds)),
            bytes_per_reading=round(raw_bytes / readings, 2) if readings else None,
            raw_bytes=round(raw_bytes),
            rollup_bytes=round(sum(kind.rollup_bytes for kind in found.kinds)),
            bytes_in_30_days=round(after(parts, 30)),
            bytes_in_365_days=round(after(parts, 365)),
            bytes_steady=None if limit is None else round(limit),
            disk=await self._forecast_disk(organization_id, parts),
        )

    async def _measure(self, organization_id: str, policy: Policy) -> Measurement:
        key = (organization_id, policy.rules)
        async with self._measuring:
            known = self._measured.get(key)
            if known is not None and self._clock.monotonic() - known.at_s < MEASURED_FOR_S:
                return known
            at_us, at_s = self._clock.now_us(), self._clock.monotonic()
            kinds = await measure(self._store, policy, organization_id, now_us=at_us)
            found = self._measured[key] = Measurement(at_us, at_s, kinds)
            self._measured.move_to_end(key)
            if len(self._measured) > MEASURED_MAX:
                self._measured.popitem(last=False)
            return found

    async def _forecast_disk(
        self, organization_id: str, parts: Sequence[Part]
    ) -> DiskForecast | None:
        """Look at the disk for those whose it is."""
        if self._disk is None:
            return None
        async with self._database.reading() as session:
            host = await organizations.station_organization(session, self._station_organization)
        if host is None or host.id != organization_id:
            return None
        free = (await asyncio.to_thread(shutil.disk_usage, self._disk)).free
        days = days_until(parts, grown_by=free)
        full_at = None if days is None else self._clock.now() + timedelta(days=days)
        return DiskForecast(free_bytes=free, full_at=full_at)
