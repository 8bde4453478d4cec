"""The newest reading of every series, in memory: written behind to the store, rebuilt from it at
start."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from fieldstation.domains.telemetry.ports import (
    VARIANT_SHIFT,
    Detail,
    LastValue,
    ReadingStore,
    SeriesKey,
    Variant,
)
from fieldstation.domains.telemetry.rendering import Rendered, encode, render
from fieldstation.domains.telemetry.writer import Committed

SERIES_PER_READ = 1_000
ENCODED_BYTES_MAX = 64 * 1024 * 1024
NO_DETAIL = Detail()


@dataclass(slots=True)
class Newest:
    """One series' newest reading; ``received_us`` is when it was committed."""

    series_id: int
    key: SeriesKey
    variant: Variant
    ts_us: int
    value: float
    flags: int
    detail: Detail
    received_us: int

    def rendered(self) -> Rendered:
        return render(
            self.series_id,
            self.key,
            self.variant,
            ts_us=self.ts_us,
            value=self.value,
            flags=self.flags,
            detail=self.detail,
        )


class LastValues:
    """Looked up by device; an older reading never replaces a newer one.

    What was shown is kept as JSON until a newer reading comes, up to ``encoded_bytes_max``; beyond
    that what was encoded first goes.
    """

    def __init__(
        self, store: ReadingStore, *, node_id: str, encoded_bytes_max: int = ENCODED_BYTES_MAX
    ) -> None:
        self._store = store
        self._node_id = node_id
        self._encoded_bytes_max = encoded_bytes_max
        self.encoded_bytes = 0
        self._encoded: OrderedDict[int, bytes] = OrderedDict()
        self._by_device: dict[str, dict[int, Newest]] = {}
        self._devices: dict[str, set[str]] = {}
        self._dirty: dict[int, Newest] = {}
        self._seq = 0

    def __len__(self) -> int:
        return sum(len(series) for series in self._by_device.values())

    def of_device(self, device_id: str) -> list[Newest]:
        """Return a device's newest readings, by series id."""
        return list(self._by_device.get(device_id, {}).values())

    def of_organization(self, organization_id: str) -> Iterator[Newest]:
        """Yield every newest reading of an organization."""
        for device_id in sorted(self._devices.get(organization_id, ())):
            yield from self._by_device.get(device_id, {}).values()

    def encoded(self, newest: Newest) -> bytes:
        """Return one of these readings as JSON."""
        known = self._encoded.get(newest.series_id)
        if known is None:
            known = self._encoded[newest.series_id] = encode(newest.rendered())
            self.encoded_bytes += len(known)
            while self.encoded_bytes > self._encoded_bytes_max:
                self.encoded_bytes -= len(self._encoded.popitem(last=False)[1])
        return known

    def forget(self, device_id: str) -> None:
        """Drop a deleted device."""
        for newest in self._by_device.pop(device_id, {}).values():
            self._dirty.pop(newest.series_id, None)
            self._drop_encoded(newest.series_id)
            self._devices.get(newest.key.organization_id, set()).discard(device_id)

    def learn(self, committed: Committed) -> None:
        """Take over what a commit stored; what another node stored, that node will save."""
        own = committed.node_id == self._node_id
        readings = committed.readings
        newest_position: dict[int, int] = {}
        ids, times = readings.series_id, readings.ts_us
        for position in committed.positions():
            series_id = ids[position]
            known = newest_position.get(series_id)
            if known is None or times[position] > times[known]:
                newest_position[series_id] = position
        details, committed_us = readings.details, committed.committed_us
        for series_id, position in newest_position.items():
            series = committed.series[position]
            flags = readings.flags[position]
            self._keep(
                series_id,
                series.key,
                variant=series.variants[flags >> VARIANT_SHIFT],
                ts_us=times[position],
                value=readings.value[position],
                flags=flags,
                detail=details.get(position, NO_DETAIL),
                received_us=committed_us,
                is_dirty=own,
            )
        if own:
            self._seq = committed.seq

    async def flush(self) -> int:
        """Save what changed since the last time; return how many series that was.

        Raises ``Busy``.
        """
        dirty = self._dirty
        self._dirty = {}
        if not dirty:
            return 0
        values = [
            LastValue(
                n.series_id,
                n.ts_us,
                n.value,
                n.flags,
                n.detail.text,
                n.received_us,
                n.detail.metadata,
                n.detail.score,
            )
            for n in dirty.values()
        ]
        try:
            await self._store.save_last_values(values, seq=self._seq)
        except BaseException:
            self._dirty = {**dirty, **self._dirty}
            raise
        return len(values)

    async def rebuild(self) -> dict[str, int]:
        """Load what was saved and replay what the intake log has behind it; return up to where.

        Raises ``Busy``.
        """
        saved, cursor = await self._store.load_last_values()
        found = {
            value.series_id: (value, Detail(value.text, value.metadata, value.score))
            for value in saved
        }
        position = dict(cursor)
        while batches := await self._store.batches_after(position):
            for batch in batches:
                position[batch.node_id] = batch.seq
                columns = batch.readings
                for n, series_id in enumerate(columns.series_id):
                    known = found.get(series_id)
                    if known is None or columns.ts_us[n] > known[0].ts_us:
                        detail = columns.details.get(n, Detail())
                        found[series_id] = (
                            LastValue(
                                series_id,
                                columns.ts_us[n],
                                columns.value[n],
                                columns.flags[n],
                                detail.text,
                                batch.committed_us,
                            ),
                            detail,
                        )
        await self._adopt(found)
        unchanged = {value.series_id for value in saved if found[value.series_id][0] is value}
        self._dirty = {n: newest for n, newest in self._dirty.items() if n not in unchanged}
        self._seq = max(self._seq, position.get(self._node_id, 0))
        return position

    async def _adopt(self, found: dict[int, tuple[LastValue, Detail]]) -> None:
        ids = list(found)
        for start in range(0, len(ids), SERIES_PER_READ):
            for row in await self._store.series_by_id(ids[start : start + SERIES_PER_READ]):
                value, detail = found[row.id]
                self._keep(
                    row.id,
                    row.key,
                    variant=row.variants[value.flags >> VARIANT_SHIFT],
                    ts_us=value.ts_us,
                    value=value.value,
                    flags=value.flags,
                    detail=detail,
                    received_us=value.received_us,
                )

    def _keep(
        self,
        series_id: int,
        key: SeriesKey,
        *,
        variant: Variant,
        ts_us: int,
        value: float,
        flags: int,
        detail: Detail,
        received_us: int,
        is_dirty: bool = True,
    ) -> None:
        """Take a reading over if it is the newest; in place, because this happens for each one."""
        series = self._by_device.get(key.device_id)
        if series is None:
            series = {}
            self._by_device[key.device_id] = series
            self._devices.setdefault(key.organization_id, set()).add(key.device_id)
        known = series.get(series_id)
        if known is None:
            known = Newest(series_id, key, variant, ts_us, value, flags, detail, received_us)
            series[series_id] = known
        elif ts_us > known.ts_us:
            known.variant, known.detail = variant, detail
            known.ts_us, known.value, known.flags = ts_us, value, flags
            known.received_us = received_us
            if series_id in self._encoded:
                self._drop_encoded(series_id)
        else:
            return
        if is_dirty:
            self._dirty[series_id] = known

    def _drop_encoded(self, series_id: int) -> None:
        self.encoded_bytes -= len(self._encoded.pop(series_id, b""))
