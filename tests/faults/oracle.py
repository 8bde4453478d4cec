"""The oracle of every fault: acknowledged ⊆ stored ⊆ sent, one row a key with the value sent."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from tests.clients import StationClient

PAGE_READINGS_MAX = 10_000
STEP_US = 1_000
HOUR_US = 3_600_000_000
SENSOR_TYPE = "temperature"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Key(NamedTuple):
    """What makes a reading unique; the sensor type is the same for all."""

    device_id: str
    sensor_id: str
    ts_us: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Readings that are sent, and acknowledged, together."""

    keys: tuple[Key, ...]
    values: tuple[float, ...]

    def readings(self) -> list[dict[str, Any]]:
        """Return them as the API takes them."""
        return [
            {
                "sensor_type": SENSOR_TYPE,
                "sensor_id": key.sensor_id,
                "timestamp": key.ts_us,
                "value": value,
            }
            for key, value in zip(self.keys, self.values, strict=True)
        ]


class Journal:
    """What the clients of one test sent and what was acknowledged to them.

    It lives in the test's process, which no fault touches. Timestamps and values are unique and
    grow, so that any stretch of it can be read back by time.
    """

    def __init__(self) -> None:
        self.sent: dict[Key, float] = {}
        self.acknowledged: set[Key] = set()
        self._first_us = time.time_ns() // 1_000 - HOUR_US

    @property
    def next_us(self) -> int:
        """The timestamp of the next reading."""
        return self._first_us + len(self.sent) * STEP_US

    def write(self, device_id: str, sensor_id: str, count: int) -> Batch:
        """Note ``count`` new readings as sent; call it before the first byte of them leaves."""
        keys = []
        for _ in range(count):
            key = Key(device_id, sensor_id, self.next_us)
            self.sent[key] = len(self.sent) / 64
            keys.append(key)
        return Batch(tuple(keys), tuple(self.sent[key] for key in keys))

    def acknowledge(self, batch: Batch) -> None:
        """Note that the station answered for these readings."""
        self.acknowledged.update(batch.keys)

    def verify(self, rows: Iterable[tuple[Key, float]], *, since_us: int = 0) -> dict[Key, float]:
        """Fail unless what is stored from ``since_us`` on agrees with the journal; return it."""
        listed = list(rows)
        stored = dict(listed)
        lost = {key for key in self.acknowledged if key.ts_us >= since_us} - stored.keys()
        invented = stored.keys() - self.sent.keys()
        changed = {key for key in stored.keys() - invented if stored[key] != self.sent[key]}
        assert len(listed) == len(stored), f"{len(listed) - len(stored)} readings stored twice"
        assert not lost, f"{len(lost)} acknowledged readings lost, such as {min(lost)}"
        assert not invented, f"{len(invented)} readings nobody sent, such as {min(invented)}"
        assert not changed, f"{len(changed)} readings with another value, such as {min(changed)}"
        return stored

    def verify_by_api(self, client: StationClient, *, since_us: int = 0) -> dict[Key, float]:
        """Read everything from ``since_us`` on through the API and judge it; return it by key.

        The last values must be the newest of what is stored.
        """
        stored = self.verify(stored_by_api(client, since_us=since_us), since_us=since_us)
        newest: dict[tuple[str, str], Key] = {}
        for key in stored:
            series = key[:2]
            newest[series] = max(newest.get(series, key), key)
        latest = {
            key[:2]: (key, value)
            for key, value in map(key_and_value, client.get("/api/v1/readings/latest")["items"])
        }
        stale = {s: k for s, k in newest.items() if latest.get(s) != (k, stored[k])}
        assert not stale, f"not the newest stored reading of its series: {stale}"
        return stored


def together(*journals: Journal) -> Journal:
    """Return what the clients of one station sent, and what was acknowledged to them."""
    whole = Journal()
    for journal in journals:
        whole.sent.update(journal.sent)
        whole.acknowledged |= journal.acknowledged
    return whole


def stored_by_api(client: StationClient, *, since_us: int = 0) -> Iterator[tuple[Key, float]]:
    """Yield every reading of the client's organization from ``since_us`` on, page by page."""
    query: dict[str, Any] = {"limit": PAGE_READINGS_MAX, "order": "asc"}
    if since_us:
        query["start"] = since_us
    while True:
        page = client.get("/api/v1/readings", **query)
        yield from map(key_and_value, page["items"])
        if page["next_cursor"] is None:
            return
        query["cursor"] = page["next_cursor"]


def key_and_value(item: dict[str, Any]) -> tuple[Key, float]:
    return Key(item["device_id"], item["sensor_id"], us_of(item["timestamp"])), item["value"]


def us_of(instant: str) -> int:
    """Return the microseconds since the epoch of an instant of the API."""
    passed = datetime.fromisoformat(instant) - EPOCH
    return (passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds
