"""The series this node writes to, in memory: per device, by the names its readings use."""

from collections import OrderedDict, defaultdict
from collections.abc import Sequence

from fieldstation.domains.telemetry.anomalies import Detector
from fieldstation.domains.telemetry.kept import ALL_US, FOREVER, Retention
from fieldstation.domains.telemetry.ports import (
    VARIANT_SHIFT,
    ReadingStore,
    SeriesKey,
    SeriesRow,
    Variant,
)

DEVICES_MAX = 50_000
VARIANTS_MAX = 100

Spelling = tuple[str | None, str | None, str | None, str | None, str | None, object]
"""``sensor_type``, ``reading_type``, ``sensor_id``, ``unit``, ``origin`` and no metadata."""


class Series:
    """One series as the writer knows it; ``id`` is 0 until it is committed.

    Readings from before ``raw_from_us`` are not kept.
    """

    __slots__ = (
        "assigned_us",
        "detector",
        "id",
        "key",
        "labels",
        "last_us",
        "raw_from_us",
        "variant_flags",
        "variants",
    )

    def __init__(self, key: SeriesKey) -> None:
        self.key = key
        self.id = 0
        self.last_us = 0
        self.assigned_us = 0
        self.raw_from_us = ALL_US
        self.detector = Detector()
        self.labels: set[Variant] = set()
        self.variants: list[Variant] = []
        self.variant_flags: dict[tuple[str | None, str | None, str], int] = {}

    def adopt(self, row: SeriesRow) -> None:
        """Take over what is committed."""
        self.id = row.id
        self.last_us = max(self.last_us, row.last_us or 0)
        for number, variant in enumerate(row.variants):
            self.add_variant(number, variant)

    def admits(self, variant: Variant) -> bool:
        """Whether readings may be labelled so: a series has at most ``VARIANTS_MAX`` labels."""
        if variant in self.labels:
            return True
        if len(self.labels) >= VARIANTS_MAX:
            return False
        self.labels.add(variant)
        return True

    def add_variant(self, number: int, variant: Variant) -> None:
        while len(self.variants) <= number:
            self.variants.append(variant)
        self.variants[number] = variant
        self.labels.add(variant)
        self.variant_flags[variant] = number << VARIANT_SHIFT


class DeviceSeries:
    """The series of one device.

    ``known`` remembers, per protocol, what the names and labels of a reading led to, however they
    are spelled: its series and flags. ``raw_from_us`` is the latest of its series: readings from
    then on are kept whatever they are.
    """

    __slots__ = (
        "_retention",
        "_retention_version",
        "by_key",
        "device_id",
        "known",
        "organization_id",
        "raw_from_us",
    )

    def __init__(
        self, organization_id: str, device_id: str, retention: Retention = FOREVER
    ) -> None:
        self.organization_id = organization_id
        self.device_id = device_id
        self.raw_from_us = ALL_US
        self._retention = retention
        self._retention_version = -1
        self.by_key: dict[tuple[str, str], Series] = {}
        self.known: defaultdict[str, dict[Spelling, tuple[Series, int]]] = defaultdict(dict)

    def find_or_plan(self, sensor_type: str, sensor_id: str, *, series_max: int) -> Series | None:
        """Return the series, planned but not yet committed if it is new; None when the device has
        too many."""
        key = (sensor_type, sensor_id)
        series = self.by_key.get(key)
        if series is None and len(self.by_key) < series_max:
            series = Series(SeriesKey(self.organization_id, self.device_id, *key))
            series.raw_from_us = self.kept_from_us(sensor_type)
            self.raw_from_us = max(self.raw_from_us, series.raw_from_us)
            self.by_key[key] = series
        return series

    def kept_from_us(self, sensor_type: str) -> int:
        """Return the instant from which on readings of a type are kept."""
        return self._retention.raw_from_us(self.organization_id, self.device_id, sensor_type)

    def heed_retention(self) -> None:
        """Ask again from when on readings are kept, once a day or when rules changed."""
        version = self._retention.version
        if version == self._retention_version:
            return
        self._retention_version = version
        self.raw_from_us = ALL_US
        for (sensor_type, _), series in self.by_key.items():
            series.raw_from_us = self.kept_from_us(sensor_type)
            self.raw_from_us = max(self.raw_from_us, series.raw_from_us)


class Catalog:
    """Keeps the most recently used devices' series; the rest is read again from the store when
    needed."""

    def __init__(
        self,
        store: ReadingStore,
        retention: Retention = FOREVER,
        *,
        devices_max: int = DEVICES_MAX,
    ) -> None:
        self._store = store
        self._retention = retention
        self._devices: OrderedDict[str, DeviceSeries] = OrderedDict()
        self._devices_max = devices_max

    def cached(self, device_id: str) -> DeviceSeries | None:
        """Return a device's series if they are in memory."""
        return self._devices.get(device_id)

    async def load(self, organization_id: str, device_id: str) -> DeviceSeries:
        """Return a device's series, from the store if need be. Raises ``Busy``."""
        found = self._devices.get(device_id)
        if found is not None:
            self._devices.move_to_end(device_id)
            return found
        rows = await self._store.find_series(organization_id, device_ids=[device_id])
        rows = await self._store.resolve_series([row.key for row in rows])
        return self._devices.get(device_id) or self._keep(organization_id, device_id, rows)

    def forget(self, device_id: str) -> None:
        """Drop a device that was deleted."""
        self._devices.pop(device_id, None)

    async def commit_planned(self, planned: Sequence[Series]) -> None:
        """Create the series that have no id yet. Raises ``Busy``."""
        rows = await self._store.resolve_series([series.key for series in planned])
        for series, row in zip(planned, rows, strict=True):
            series.adopt(row)

    async def commit_variants(self, wanted: Sequence[tuple[Series, Variant]]) -> None:
        """Number the variants that are new to their series. Raises ``Busy``."""
        numbers = await self._store.resolve_variants([(s.id, variant) for s, variant in wanted])
        for (series, variant), number in zip(wanted, numbers, strict=True):
            series.add_variant(number, variant)

    def _keep(
        self, organization_id: str, device_id: str, rows: Sequence[SeriesRow]
    ) -> DeviceSeries:
        device = DeviceSeries(organization_id, device_id, self._retention)
        for row in rows:
            series = Series(row.key)
            series.adopt(row)
            device.by_key[(row.key.sensor_type, row.key.sensor_id)] = series
        self._devices[device_id] = device
        if len(self._devices) > self._devices_max:
            self._devices.popitem(last=False)
        return device
