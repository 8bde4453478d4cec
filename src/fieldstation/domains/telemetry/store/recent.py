"""The readings whose log entries are not yet in chunks: in memory, rebuilt from the log at start.

A reader takes ``parts()`` first and reads the chunks then; a flush removes parts only after its
chunks are committed. So whoever looks finds each reading at least once, and sorting by key leaves
one of each.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import NamedTuple

from fieldstation.domains.telemetry.store.outcomes import Fact, fact
from fieldstation.domains.telemetry.store.points import (
    Key,
    Points,
    in_key_order,
    joined,
    runs,
)

PARTS_PER_SIZE_MAX = 16
SMALL_READINGS = 256
LARGE_READINGS = 16_384


class Place(NamedTuple):
    """Where a series' readings stand in a part, and the instants of the first and the last."""

    start: int
    end: int
    first_us: int
    last_us: int


@dataclass(frozen=True, slots=True)
class Part:
    """The readings of some log entries in a row, in key order; ``places`` is keyed by series."""

    points: Points
    last_id: int
    places: dict[int, Place]

    def __len__(self) -> int:
        return len(self.points)


def make_part(points: Points, last_id: int) -> Part:
    """Index points that are in key order already."""
    bounds = runs(points.series_id)
    starts, ends = bounds[:-1], bounds[1:]
    places = map(
        Place,
        starts.tolist(),
        ends.tolist(),
        points.ts_us[starts].tolist(),
        points.ts_us[ends - 1].tolist(),
    )
    return Part(points, last_id, dict(zip(points.series_id[starts].tolist(), places, strict=True)))


class Recent:
    """Parts in the order of the log. Its methods may be called from any thread.

    ``newest`` is the newest instant of each series that was looked up since the start, kept up to
    date with whatever any node commits.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._parts: list[Part] = []
        self._frozen = 0
        self._readings = 0
        self._base_id = 0
        self.last_id = 0
        self.newest: dict[int, int] = {}

    def __len__(self) -> int:
        return self._readings

    def begin_at(self, entry_id: int) -> None:
        """Say up to which log entry everything is in chunks; nothing was added yet."""
        self.last_id = self._base_id = entry_id

    def parts(self) -> list[Part]:
        """Return all parts as they are now."""
        with self._lock:
            return list(self._parts)

    def add(self, points: Points, entry_id: int) -> None:
        """Take over a committed entry, in key order; one that is known already changes nothing."""
        with self._lock:
            if entry_id <= self.last_id:
                return
            part = make_part(points, entry_id)
            self._move_to(entry_id - 1)
            self.last_id = entry_id
            self._note_newest(part)
            self._parts.append(part)
            self._readings += len(part)
            self._merge(SMALL_READINGS)
            self._merge(LARGE_READINGS)

    def standing(self, keys: Iterable[Key]) -> dict[Key, Fact]:
        """Return those of the keys that stand in a part."""
        wanted = by_series(keys)
        found: dict[Key, Fact] = {}
        for part in self.parts():
            found.update(stand_in(part, wanted))
        return found

    def freeze(self) -> list[Part]:
        """Return what a flush writes: it stays as it is until ``forget_through`` its end."""
        with self._lock:
            self._frozen = self._frozen or len(self._parts)
            return self._parts[: self._frozen]

    def forget_through(self, entry_id: int) -> bool:
        """Drop the parts whose readings are in chunks now.

        Returns false if the entry lies inside a part: then only ``clear`` and reading the log again
        brings both together.
        """
        with self._lock:
            while self._parts and self._parts[0].last_id <= entry_id:
                self._base_id = self._parts.pop(0).last_id
                self._frozen = max(0, self._frozen - 1)
            self._readings = sum(map(len, self._parts))
            self._move_to(entry_id)
            return self._base_id >= entry_id or not self._parts

    def clear(self, entry_id: int) -> None:
        """Forget everything and begin again behind an entry."""
        with self._lock:
            self._parts.clear()
            self._frozen = self._readings = 0
            self.last_id = self._base_id = entry_id

    def _move_to(self, entry_id: int) -> None:
        """Pass over entries that were flushed, and perhaps trimmed, before they were seen here."""
        if entry_id > self.last_id:
            self.last_id = entry_id
            self.newest.clear()

    def _note_newest(self, part: Part) -> None:
        newest = self.newest
        for series_id, place in part.places.items():
            known = newest.get(series_id)
            if known is not None and place.last_us > known:
                newest[series_id] = place.last_us

    def _merge(self, size: int) -> None:
        """Join the smaller parts at the end once there are many: searches stay short."""
        start = len(self._parts)
        while start > self._frozen and len(self._parts[start - 1]) < size:
            start -= 1
        tail = self._parts[start:]
        if len(tail) >= PARTS_PER_SIZE_MAX:
            points = in_key_order(joined(part.points for part in tail))
            self._parts[start:] = [make_part(points, tail[-1].last_id)]


def newest_in(parts: Iterable[Part], series_id: int) -> int:
    """Return the newest instant of a series in these parts, 0 without any."""
    places = (part.places.get(series_id) for part in parts)
    return max((place.last_us for place in places if place is not None), default=0)


def by_series(keys: Iterable[Key]) -> dict[int, list[int]]:
    grouped: dict[int, list[int]] = {}
    for series_id, ts_us in keys:
        grouped.setdefault(series_id, []).append(ts_us)
    return grouped


def stand_in(part: Part, wanted: Mapping[int, Sequence[int]]) -> dict[Key, Fact]:
    """Return the facts of the wanted instants of each series at which the part has a reading."""
    found: dict[Key, Fact] = {}
    points, places = part.points, part.places
    for series_id, instants in wanted.items():
        place = places.get(series_id)
        if place is None:
            continue
        for instant in instants:
            if not place.first_us <= instant <= place.last_us:
                continue
            at = bisect_left(points.ts_us, instant, place.start, place.end)
            if points.ts_us[at] == instant:
                key = (series_id, instant)
                detail = points.details.get(key)
                found[key] = fact(
                    float(points.value[at]),
                    int(points.flags[at]),
                    detail.text if detail else None,
                )
    return found


def between(part: Part, series_ids: Collection[int], start_us: int, end_us: int) -> list[Points]:
    """Return the readings of these series in a period, one piece a series."""
    places = part.places
    few = series_ids if len(series_ids) <= len(places) else places
    wanted = set(series_ids) if few is places else ()
    found: list[Points] = []
    for series_id in few:
        if few is places and series_id not in wanted:
            continue
        place = places.get(series_id)
        if place is None:
            continue
        times = part.points.ts_us
        first = bisect_left(times, start_us, place.start, place.end)
        last = bisect_left(times, end_us, place.start, place.end)
        if first < last:
            found.append(part.points.take(slice(first, last)))
    return found
