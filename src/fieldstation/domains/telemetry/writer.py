"""The one writer of a node: whatever waits when it is idle becomes one commit, and only then is
anybody told."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import compress

import structlog

from fieldstation.core.clock import Clock
from fieldstation.core.errors import DISK_FULL, Busy, StationError
from fieldstation.core.ids import new_id
from fieldstation.domains.telemetry.anomalies import (
    FLAG_SCORE,
    LEARNING_RATE,
    USUAL_DEVIATIONS,
)
from fieldstation.domains.telemetry.catalog import Catalog, Series
from fieldstation.domains.telemetry.groups import Group, Heartbeat
from fieldstation.domains.telemetry.intake import Intake
from fieldstation.domains.telemetry.ports import (
    FLAG_ANOMALY,
    FLAG_DETAIL,
    KIND_MASK,
    VARIANT_SHIFT,
    Appended,
    Columns,
    Detail,
    LoggedBatch,
    Outcome,
    ReadingStore,
    Refusal,
    SeriesRow,
    Variant,
)

log = structlog.get_logger(__name__)

INLINE_READINGS_MAX = 200
IS_ACCEPTED = bytes(outcome == Outcome.ACCEPTED for outcome in range(256))
RETRY_DELAY_S = 0.2
AWAY = "The telemetry database is away; nothing of this was stored, send it again in a moment."
RETRY_DELAY_S_MAX = 5.0


@dataclass(frozen=True, slots=True)
class Committed:
    """One group as a node stored it; ``accepted`` holds the positions that are new, in order (None:
    all)."""

    node_id: str
    seq: int
    committed_us: int
    series: Sequence[Series | SeriesRow]
    readings: Columns
    accepted: Sequence[int] | None

    def positions(self) -> Sequence[int]:
        return range(len(self.readings)) if self.accepted is None else self.accepted


@dataclass(slots=True)
class WriterCounts:
    """What this node has written since it started."""

    accepted: int = 0
    duplicates: int = 0
    conflicts: int = 0
    anomalies: int = 0
    refused: int = 0
    commits: int = 0
    failures: int = 0


@dataclass(slots=True)
class Writer:
    """Commits groups in order.

    A failed commit fails its requests; counted messages are tried again, unacknowledged.
    """

    intake: Intake
    store: ReadingStore
    catalog: Catalog
    clock: Clock
    keep_heartbeats: Callable[[Sequence[Heartbeat]], Awaitable[None]]
    consumers: list[Callable[[Committed], None]] = field(default_factory=list)
    counts: WriterCounts = field(default_factory=WriterCounts)
    node_id: str = ""
    told_seq: int = 0
    """The newest entry of the intake log that the consumers know."""

    async def write_forever(self) -> None:
        """Take, commit, tell; until cancelled between two groups."""
        while True:
            group = await self.intake.take()
            try:
                await self._commit_with_retries(group)
            finally:
                self.intake.done(group)

    async def _commit_with_retries(self, group: Group) -> None:
        delay_s = RETRY_DELAY_S
        try:
            while (absence := await self._try_to_settle(group)) is not None:
                group = group.without_waiters()
                if not (group.counted or group.refusals):
                    return
                self.intake.refuse_requests(absence)
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, RETRY_DELAY_S_MAX)
        finally:
            self.intake.admit_requests()

    async def _try_to_settle(self, group: Group) -> Busy | None:
        """Try to commit; when the database is away its requests know, the rest must wait: return
        what to tell others."""
        try:
            await self._commit(group)
        except Busy as error:
            self.counts.failures += 1
            log.warning("commit_failed", reason=error.detail, readings=len(group))
            group.fail_waiters(error)
            return error if error.code == DISK_FULL else Busy(AWAY, code="database_unavailable")
        except Exception:  # a defect must not end the writer; nothing was acknowledged
            log.exception("commit_crashed", readings=len(group))
            group.fail_waiters(StationError("The station could not store this."))
            for receipt, count in group.counted.items():
                receipt.fail(count)
        return None

    async def _commit(self, group: Group) -> None:
        await self._resolve(group)
        if len(group) <= INLINE_READINGS_MAX:
            readings = prepare(group)
        else:
            readings = await asyncio.to_thread(prepare, group)
        appended = await self.store.append(
            readings, refusals=group.refusals, begun=group.begun, ended=group.ended
        )
        outcomes = appended.outcomes
        makes_entry = len(readings) > 0 and (outcomes is None or Outcome.ACCEPTED in outcomes)
        await self._tell_of_lost_answers(appended, makes_entry=makes_entry)
        self._tell_consumers(group, readings, appended)
        conflicts = self._conflicts(group, outcomes)
        if conflicts:
            await self.store.append(Columns(), refusals=conflicts)
        if group.heartbeats:
            await self.keep_heartbeats(group.heartbeats)
        settle(group, outcomes)

    async def _tell_of_lost_answers(self, appended: Appended, *, makes_entry: bool) -> None:
        """Tell of commits that stand although their answers were lost: only the log knows them."""
        newest = appended.seq - 1 if makes_entry else appended.seq
        if newest > self.told_seq:
            others = {n: seq for n, (_, seq) in (await self.store.log_bounds()).items()}
            cursor = {**others, self.node_id: self.told_seq}
            for batch in await self.store.batches_after(cursor):
                if batch.node_id == self.node_id and batch.seq <= newest:
                    await self._tell_of_entry(batch)
        self.told_seq = max(self.told_seq, newest)

    async def _tell_of_entry(self, batch: LoggedBatch) -> None:
        ids = batch.readings.series_id
        rows = {row.id: row for row in await self.store.series_by_id(list(set(ids)))}
        if any(series_id not in rows for series_id in ids):
            return  # a device was deleted in between
        series = [rows[series_id] for series_id in ids]
        committed = Committed(
            batch.node_id, batch.seq, batch.committed_us, series, batch.readings, None
        )
        for consume in self.consumers:
            consume(committed)
        self.told_seq = batch.seq

    async def _resolve(self, group: Group) -> None:
        """Give every planned series its id and every new variant its number, committed."""
        planned = list(dict.fromkeys(series for series in group.series if not series.id))
        if planned:
            await self.catalog.commit_planned(planned)
        if group.new_variants:
            wanted = dict.fromkeys(
                (group.series[position], variant)
                for position, variant in group.new_variants.items()
                if variant not in group.series[position].variant_flags
            )
            if wanted:
                await self.catalog.commit_variants(list(wanted))
            for position, variant in group.new_variants.items():
                group.flags[position] |= group.series[position].variant_flags[variant]
            group.new_variants.clear()

    def _tell_consumers(self, group: Group, readings: Columns, appended: Appended) -> None:
        outcomes = appended.outcomes
        accepted = None
        if outcomes is not None:
            accepted = list(compress(range(len(outcomes)), outcomes.translate(IS_ACCEPTED)))
        self._count(group, outcomes, readings)
        committed = Committed(
            self.node_id,
            appended.seq,
            appended.committed_us,
            group.series,
            readings,
            accepted,
        )
        for consume in self.consumers:
            consume(committed)
        self.told_seq = appended.seq

    def _conflicts(self, group: Group, outcomes: bytes | None) -> list[Refusal]:
        """Return what counted messages lost to earlier readings; requests are told themselves."""
        if outcomes is None or Outcome.CONFLICT not in outcomes or not group.counted:
            return []
        told = {n for w in group.waiters for n in range(w.start, w.start + w.count)}
        now_us = self.clock.now_us()
        return [
            conflict(group, position, now_us)
            for position, outcome in enumerate(outcomes)
            if outcome == Outcome.CONFLICT and position not in told
        ]

    def _count(self, group: Group, outcomes: bytes | None, readings: Columns) -> None:
        counts = self.counts
        counts.commits += 1
        counts.refused += len(group.refusals)
        counts.anomalies += sum(1 for detail in readings.details.values() if detail.score)
        if outcomes is None:
            counts.accepted += len(readings)
            return
        duplicates = outcomes.count(Outcome.DUPLICATE)
        conflicts = outcomes.count(Outcome.CONFLICT)
        counts.duplicates += duplicates
        counts.conflicts += conflicts
        counts.accepted += len(outcomes) - duplicates - conflicts


def prepare(group: Group) -> Columns:
    """Make a group's columns: ids, anomaly flags and scores.

    A group that is tried again was scored before.
    """
    if not group.scored:
        score(group)
        group.scored = True
    ids = [series.id for series in group.series]
    return Columns(ids, group.ts_us, group.value, group.flags, group.details)


def score(group: Group) -> None:
    """Flag what does not fit its series; what is not newer than its series' newest is not judged.

    The usual case of ``Detector.observe`` is written out: nearly every reading is one.
    """
    flags, details = group.flags, group.details
    columns = zip(group.series, group.ts_us, group.value, group.flags, strict=True)
    for position, (series, ts_us, value, flag) in enumerate(columns):
        if ts_us <= series.last_us:
            continue
        series.last_us = ts_us
        if flag & KIND_MASK:
            continue
        detector = series.detector
        centre, deviation = detector.centre, detector.deviation
        distance = value - centre if value >= centre else centre - value
        if distance <= USUAL_DEVIATIONS * deviation and detector.warm:
            detector.centre = centre + LEARNING_RATE * (value - centre)
            detector.deviation = deviation + LEARNING_RATE * (distance - deviation)
            continue
        distance = detector.observe(value)
        if distance > FLAG_SCORE:
            flags[position] = flag | FLAG_ANOMALY | FLAG_DETAIL
            known = details.get(position)
            details[position] = Detail(
                metadata=known.metadata if known else None, score=round(distance, 3)
            )


def settle(group: Group, outcomes: bytes | None) -> None:
    """Tell everybody who waits: all that the group held is committed."""
    for waiter in group.waiters:
        if not waiter.future.done():
            end = waiter.start + waiter.count
            waiter.future.set_result(
                bytes(waiter.count) if outcomes is None else outcomes[waiter.start : end]
            )
    for receipt, count in group.counted.items():
        try:
            receipt.settle(count)
        except Exception:  # a defect of one connection must not cost the others their answers
            log.exception("receipt_broke")


def conflict(group: Group, position: int, now_us: int) -> Refusal:
    series = group.series[position]
    variant = series.variants[group.flags[position] >> VARIANT_SHIFT]
    return Refusal(
        id=new_id(),
        organization_id=series.key.organization_id,
        device_id=series.key.device_id,
        received_us=now_us,
        topic=variant_topic(series, variant),
        payload=repr(group.value[position]).encode(),
        error="timestamp_conflict",
        detail="Another value with this timestamp was stored before; the first one stands.",
    )


def variant_topic(series: Series, variant: Variant) -> str:
    return f"{variant.source_protocol}:{series.key.sensor_type}/{series.key.sensor_id}"
