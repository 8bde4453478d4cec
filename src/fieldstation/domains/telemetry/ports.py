"""What the telemetry domain needs from whatever keeps its readings: the ``ReadingStore`` port.

Units: every ``*_us`` is microseconds since 1970-01-01T00:00Z; intervals of time are half-open,
``[start_us, end_us)``. A reading's key is ``(series_id, ts_us)``; a store never holds two readings
with one key.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple, Protocol

from fieldstation.domains.telemetry.exchanges import Exchange, ExchangeStore
from fieldstation.domains.telemetry.sizing import MeasuredStore
from fieldstation.domains.telemetry.summaries import Bucket, SeriesStats, Shape

US_PER_MINUTE = 60_000_000

# How ``flags`` is laid out: two bits of kind, then one bit each, then the variant's number.
KIND_MASK = 0b11
FLAG_ANOMALY = 1 << 2
FLAG_DETAIL = 1 << 3
VARIANT_SHIFT = 8


class Kind(IntEnum):
    """What the value is; ``value`` holds 0.0/1.0 for a boolean and 0.0 for a text."""

    NUMBER = 0
    BOOLEAN = 1
    TEXT = 2


class SeriesKey(NamedTuple):
    """What identifies a series; ``sensor_id`` is never empty."""

    organization_id: str
    device_id: str
    sensor_type: str
    sensor_id: str


class Variant(NamedTuple):
    """How a series' readings were labelled.

    Numbered per series from 0, so that a new unit relabels nothing.
    """

    unit: str | None
    origin: str | None
    source_protocol: str


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """One stored series with every variant it ever had (``variants[number]``).

    ``last_us`` is the instant of its newest reading (``None``: it has none); only
    ``resolve_series`` looks it up.
    """

    id: int
    key: SeriesKey
    variants: tuple[Variant, ...]
    last_us: int | None = None


@dataclass(frozen=True, slots=True)
class Detail:
    """What only some readings have: a text value, metadata (encoded JSON), an anomaly's score."""

    text: str | None = None
    metadata: bytes | None = None
    score: float | None = None


@dataclass(slots=True)
class Columns:
    """Readings as parallel columns; ``details`` is keyed by position and sparse."""

    series_id: list[int] = field(default_factory=list)
    ts_us: list[int] = field(default_factory=list)
    value: list[float] = field(default_factory=list)
    flags: list[int] = field(default_factory=list)
    details: dict[int, Detail] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ts_us)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A message that was acknowledged but could not be stored as readings, with its reason."""

    id: str
    organization_id: str
    device_id: str
    received_us: int
    topic: str
    payload: bytes
    error: str
    detail: str


class Outcome(IntEnum):
    """What became of one reading of an append."""

    ACCEPTED = 0
    DUPLICATE = 1
    CONFLICT = 2


@dataclass(frozen=True, slots=True)
class Appended:
    """A committed append.

    Its number in the intake log and, per reading, an ``Outcome`` (``None``: all accepted).
    """

    seq: int
    committed_us: int
    outcomes: bytes | None


@dataclass(frozen=True, slots=True)
class LoggedBatch:
    """One group commit as the intake log keeps it: exactly its accepted readings, in order."""

    node_id: str
    seq: int
    committed_us: int
    readings: Columns


class Order(IntEnum):
    """Direction of a page over ``(ts_us, series_id)``."""

    NEWEST_FIRST = 0
    OLDEST_FIRST = 1


class PageKey(NamedTuple):
    """The last reading of a page; the next one starts strictly behind it."""

    ts_us: int
    series_id: int


class LastValue(NamedTuple):
    """The newest reading of a series."""

    series_id: int
    ts_us: int
    value: float
    flags: int
    text: str | None
    received_us: int
    metadata: bytes | None = None
    score: float | None = None


class ReadingStore(ExchangeStore, MeasuredStore, Protocol):
    """Append-only readings with an intake log.

    Raises ``core.errors.Busy`` when the database is away or full.
    """

    async def open(self) -> None:
        """Connect and load what the store needs; the schema exists already (Alembic made it)."""
        ...

    async def open_beside(self) -> None:
        """Connect beside a running station and write nothing; only what reads may be asked then."""
        ...

    async def close(self) -> None:
        """Finish what runs and release every connection and thread; harmless when repeated."""
        ...

    async def resolve_series(self, keys: Sequence[SeriesKey]) -> list[SeriesRow]:
        """Return the series of ``keys`` in order; create what is missing, committed by itself.

        Their ``last_us`` is exact.
        """
        ...

    async def resolve_variants(self, wanted: Sequence[tuple[int, Variant]]) -> list[int]:
        """Return each variant's number within its series, creating what is missing, committed."""
        ...

    async def append(
        self,
        readings: Columns,
        *,
        refusals: Sequence[Refusal] = (),
        begun: Sequence[Exchange] = (),
        ended: Sequence[Exchange] = (),
    ) -> Appended:
        """Commit one batch with its intake-log entry, durably; say what became of each reading.

        The first reading with a key stands, on whichever node: the same value again (and the same
        text and kind) is a ``DUPLICATE``, another one a ``CONFLICT``. The log entry holds the
        accepted readings only; a batch that accepts nothing leaves none, and its ``seq`` is that of
        the node's newest entry. A reading with details is flagged ``FLAG_DETAIL`` by the store.
        """
        ...

    async def flush_due(self) -> None:
        """Move readings from the log to chunks, if many or for long; call about once a second.
        What is asked and answered is the same before and after, as it is with ``seal_slice``."""
        ...

    async def flush(self) -> None:
        """Move all of them, at a stop: the next start has less to read."""
        ...

    async def seal_slice(self) -> int:
        """Compress some readings that lie back some hours; return how many, 0 when none do."""
        ...

    async def roll_up(self, *, before_us: int) -> bool:
        """Do a slice of work on rollups, of the hours that end before an instant at the latest;
        return whether there may be more.

        What is asked and answered is the same before and after, percentiles of long periods apart.
        """
        ...

    async def find_series(
        self,
        organization_id: str,
        *,
        device_ids: Sequence[str] | None = None,
        sensor_types: Sequence[str] | None = None,
        sensor_ids: Sequence[str] | None = None,
    ) -> list[SeriesRow]:
        """Return the organization's series that fit every given filter, ordered by id."""
        ...

    async def series_by_id(self, series_ids: Sequence[int]) -> list[SeriesRow]:
        """Return those of the series that exist, in any order."""
        ...

    async def page(
        self,
        series: Sequence[SeriesRow],
        *,
        start_us: int,
        end_us: int,
        order: Order,
        limit: int,
        after: PageKey | None = None,
        anomaly: bool | None = None,
    ) -> Columns:
        """Return up to ``limit`` readings ordered by ``(ts_us, series_id)``, with their details;
        only flagged ones or only others if ``anomaly`` says so, as below."""
        ...

    async def buckets(
        self,
        series: Sequence[SeriesRow],
        *,
        start_us: int,
        end_us: int,
        interval_us: int,
        anomaly: bool | None = None,
    ) -> list[Bucket]:
        """Aggregate into buckets aligned to the epoch, ordered by ``(series_id, start_us)``.

        Empty ones are absent.
        """
        ...

    async def stats(
        self,
        series: Sequence[SeriesRow],
        *,
        start_us: int,
        end_us: int,
        anomaly: bool | None = None,
    ) -> list[SeriesStats]:
        """Summarise each series that has numeric readings in the period.

        Percentiles are exact or within 1 %.
        """
        ...

    async def shapes(
        self,
        series: Sequence[SeriesRow],
        *,
        start_us: int,
        end_us: int,
        points_max: int,
        anomaly: bool | None = None,
    ) -> list[Shape]:
        """Choose at most ``points_max`` (at least 4) readings of each series that has numbers in
        the period, such that a line through them looks like one through all; the smallest and the
        largest are among them."""
        ...

    def stream(
        self, series: Sequence[SeriesRow], *, start_us: int, end_us: int, rows_max: int = 10_000
    ) -> AsyncIterator[Columns]:
        """Yield the readings of a period oldest first, in blocks of at most ``rows_max``."""
        ...

    async def load_last_values(self) -> tuple[list[LastValue], Mapping[str, int]]:
        """Return the saved last values and the cursor ``{node_id: seq}`` up to which they hold."""
        ...

    async def save_last_values(self, values: Sequence[LastValue], *, seq: int) -> None:
        """Save changed last values and this node's cursor, in one transaction.

        An older value never replaces a newer one.
        """
        ...

    async def batches_after(
        self,
        cursor: Mapping[str, int],
        *,
        batches_max: int = 256,
        until: Mapping[str, int] | None = None,
    ) -> list[LoggedBatch]:
        """Return logged batches behind the cursor, in commit order per node.

        A node that the cursor does not name starts from its first. With ``until`` none behind that
        cursor, and none of nodes that it does not name.
        """
        ...

    def follow_others(self, after: Mapping[str, int]) -> AsyncGenerator[list[LoggedBatch], None]:
        """Yield what other nodes committed behind a cursor, and then what they commit, forever.

        In commit order per node, each batch once, normally within milliseconds of its commit. A
        store that no other node can write to waits until it is cancelled.
        """
        ...

    async def log_bounds(self) -> dict[str, tuple[int, int]]:
        """Return ``{node_id: (oldest seq kept, newest seq)}`` of the intake log."""
        ...

    async def trim_log(self, *, before_us: int, batches_max: int = 1_000) -> int:
        """Delete at most ``batches_max`` log entries committed before an instant; return how many.

        The newest entry of each node stays: it carries the numbering on.
        """
        ...

    async def refusals(
        self, organization_id: str, device_id: str, *, limit: int, before_id: str | None = None
    ) -> list[Refusal]:
        """Return a device's refusals, newest first."""
        ...

    async def count_refusals(self, organization_id: str, device_id: str) -> int:
        """Return how many refusals of a device are kept."""
        ...

    async def trim_refusals(self, *, keep_per_device: int) -> int:
        """Delete all but the newest refusals of each device; return how many went."""
        ...

    async def delete_device(self, organization_id: str, device_id: str) -> None:
        """Delete a device's series, readings, last values and refusals; ids are not reused.

        Log entries age out. After ``Busy`` a second call goes on where the first one stopped.
        """
        ...

    async def expire_slice(
        self,
        series_ids: Sequence[int],
        *,
        raw_before_us: int | None,
        rollups_before_us: int | None,
    ) -> bool:
        """Delete a slice of what these series hold before the instants, each rounded down to a
        whole UTC day (``None``: all is kept); return whether there may be more.

        Of a series no readings go before they are rolled up, and no rollups before their readings.
        Rollups answer for readings that are gone: whole hours and days, statistics whole days only.
        """
        ...
