"""Questions about readings: filters, pages, buckets and statistics, against a recomputation."""

import math
import statistics
from collections import defaultdict
from random import Random
from typing import Any

import pytest

from tests.clients import StationClient, TestDevice

MINUTE_US = 60_000_000
START_US = 1_777_636_800_000_000  # 2026-05-01T12:00Z, a whole hour
AGGREGATES = ("avg", "min", "max", "sum", "count", "first", "last", "stddev")


def at(us: int) -> int:
    return START_US + us


def send_series(
    client: StationClient, device: TestDevice, points: list[tuple[int, Any]], **fields: Any
) -> None:
    readings = [
        {"sensor_type": "t", **fields, "timestamp": at(us), "value": value} for us, value in points
    ]
    assert client.send(device, readings)["accepted"] == len(points)


@pytest.fixture
def random_points() -> list[tuple[int, float]]:
    """An hour of readings, some minutes empty, several in others."""
    random = Random(11)  # noqa: S311 - readings, not secrets
    instants = sorted(random.sample(range(60 * MINUTE_US), 150))
    return [(us, round(random.gauss(20, 5), 3)) for us in instants if not 20 <= us / MINUTE_US < 25]


def items(client: StationClient, path: str, **query: Any) -> list[dict[str, Any]]:
    return client.get(path, **query)["items"]


def test_filters_narrow_what_is_found(client: StationClient) -> None:
    one, two = client.register_device(), client.register_device()
    for device in (one, two):
        send_series(client, device, [(n, n) for n in range(3)], sensor_type="a", sensor_id="x")
        send_series(client, device, [(n, n) for n in range(3)], sensor_type="b", sensor_id="y")

    def count(path: str = "/api/v1/readings", **query: Any) -> int:
        return len(items(client, path, **query))

    assert count() == 12
    assert count(one.readings_path) == 6
    assert count(device_id=one.id) == 6
    assert count(device_id=[one.id, two.id]) == 12
    assert count(sensor_type="a") == count(sensor_type="A") == count(reading_type="a") == 6
    assert count(sensor_type=["a", "b"]) == count(sensor_type="a", reading_type="b") == 12
    assert count(sensor_id="y") == 6
    assert count(sensor_type="a", sensor_id="y") == 0
    assert count(device_id="nobody") == 0
    assert count(start=at(1)) == 8
    assert count(end=at(1)) == 4
    assert count(start=at(1), end=at(2)) == 4
    assert count(start="2026-05-01T12:00:00.000001Z", end="2026-05-01T14:00:00.000002+02:00") == 4
    assert count(start="2027-01-01") == 0
    assert count(anomaly="true") == 0
    assert count(f"{one.readings_path}/latest", sensor_type="a") == 1
    assert count("/api/v1/readings/latest", device_id=two.id) == 2
    assert count("/api/v1/readings/stats", sensor_id="x") == 2


@pytest.mark.parametrize(
    "query",
    [
        {"start": "yesterday"},
        {"end": "nan"},
        {"order": "sideways"},
        {"limit": 0},
        {"limit": 10_001},
        {"interval": "5"},
        {"interval": "1h", "aggregate": "median"},
        {"interval": "1h", "fill": "magic"},
        {"interval": "1s", "start": "2000-01-01"},
        {"interval": "999999w", "start": "-9e300"},
    ],
)
def test_a_question_that_makes_no_sense_is_422_and_short(
    owner: StationClient, query: dict[str, Any]
) -> None:
    owner.send(owner.register_device(), {"sensor_type": "t", "value": 1})
    body = owner.get("/api/v1/readings", status=422, **query)
    assert len(body["detail"]) < 300


@pytest.mark.parametrize(
    "query", ["start=1e300", "end=-1e300", "start=1e25", "end=1e300", "start=-1"]
)
@pytest.mark.parametrize("path", ["", "/stats"])
def test_times_beyond_all_readings_are_answered(
    owner: StationClient, path: str, query: str
) -> None:
    owner.send(owner.register_device(), {"sensor_type": "t", "value": 1})
    answer = owner.http.get(f"/api/v1/readings{path}?{query}")
    assert answer.status_code in {200, 422}


@pytest.mark.parametrize("name", ["sensor_type", "sensor_id", "device_id"])
@pytest.mark.parametrize("path", ["", "/latest", "/stats"])
def test_a_name_with_a_null_character_finds_nothing_or_is_refused(
    owner: StationClient, path: str, name: str
) -> None:
    owner.send(owner.register_device(), {"sensor_type": "t", "value": 1})
    answer = owner.http.get(f"/api/v1/readings{path}", params={name: "a\x00"})
    assert answer.status_code == 422 or answer.json()["items"] == [], answer.text[:300]


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 7, 1_000])
def test_pages_hold_everything_once_in_order(owner: StationClient, order: str, limit: int) -> None:
    device = owner.register_device()
    points = [(n // 2, n) for n in range(0, 20, 2)]
    for name in "ab":
        send_series(owner, device, points, sensor_type=name)
    seen: list[dict[str, Any]] = []
    cursor: dict[str, Any] = {}
    while True:
        page = owner.get(device.readings_path, order=order, limit=limit, **cursor)
        seen += page["items"]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert len({reading["id"] for reading in seen}) == len(seen) == 20
    times = [reading["timestamp"] for reading in seen]
    assert times == sorted(times, reverse=order == "desc")


def test_pages_are_stable_while_readings_arrive(owner: StationClient) -> None:
    device = owner.register_device()
    send_series(owner, device, [(n, n) for n in range(10)])
    seen, cursor, arrived = list[Any](), None, 100
    while True:
        query: dict[str, Any] = {} if cursor is None else {"cursor": cursor}
        page = owner.get(device.readings_path, limit=3, **query)
        seen += [reading["value"] for reading in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
        send_series(owner, device, [(arrived, arrived)])
        arrived += 1
    assert seen == list(range(9, -1, -1))


def test_ten_thousand_and_more_readings_are_read_in_pages(owner: StationClient) -> None:
    device = owner.register_device()
    send_series(owner, device, [(n, n) for n in range(10_000)])
    send_series(owner, device, [(n, n) for n in range(10_000, 12_500)])
    first = owner.get(device.readings_path, limit=10_000)
    second = owner.get(device.readings_path, limit=10_000, cursor=first["next_cursor"])
    assert second["next_cursor"] is None
    found = [reading["value"] for reading in (*first["items"], *second["items"])]
    assert found == list(range(12_499, -1, -1))


def test_a_page_has_fifty_readings_unless_asked(owner: StationClient) -> None:
    device = owner.register_device()
    send_series(owner, device, [(n, n) for n in range(150)])
    assert len(items(owner, device.readings_path)) == 50


def test_flagged_readings_are_told_from_others_in_every_question(owner: StationClient) -> None:
    device = owner.register_device()
    steady = [(n, 20 + n % 2) for n in range(100)]
    send_series(owner, device, [*steady, (100, 500)], sensor_type="a")
    send_series(owner, device, [(n, 1.5) for n in range(3)], sensor_type="b")
    own = {"device_id": device.id}
    for path, only in ((device.readings_path, {}), ("/api/v1/readings", own)):
        (odd,) = items(owner, path, **only, anomaly="true")
        assert (odd["value"], odd["anomaly"]) == (500, True)
        rest = items(owner, path, **only, anomaly="false", limit=200)
        assert len(rest) == 103
        assert not any(reading["anomaly"] for reading in rest)
        for anomaly, counts in (("true", [1]), ("false", [100, 3])):
            stats = items(owner, f"{path}/stats", **only, anomaly=anomaly)
            assert [row["count"] for row in stats] == counts
            hourly = {"interval": "1h", "aggregate": "count", "start": at(0), "end": at(999)}
            buckets = items(owner, path, **only, **hourly, anomaly=anomaly)
            assert [row["count"] for row in buckets] == counts
        flagged = items(owner, f"{path}/latest", **only, anomaly="true")
        assert [reading["value"] for reading in flagged] == [500]
        others = items(owner, f"{path}/latest", **only, anomaly="false")
        assert [reading["value"] for reading in others] == [1.5]


def test_pages_of_unflagged_readings_miss_none_beside_flagged_ones(owner: StationClient) -> None:
    device = owner.register_device()
    points = [(n * MINUTE_US, 500 if n % 40 == 39 else 20 + n % 2) for n in range(200)]
    send_series(owner, device, points)
    flagged = {r["id"] for r in items(owner, device.readings_path, anomaly="true", limit=200)}
    everything = [r["id"] for r in items(owner, device.readings_path, limit=200)]
    assert flagged
    seen: list[str] = []
    cursor: dict[str, Any] = {}
    while True:
        page = owner.get(device.readings_path, anomaly="false", limit=7, **cursor)
        seen += [reading["id"] for reading in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == [reading for reading in everything if reading not in flagged]


@pytest.mark.parametrize("name", ["start", "end"])
def test_newest_readings_have_no_period_and_say_so(owner: StationClient, name: str) -> None:
    device = owner.register_device()
    for path in (device.readings_path, "/api/v1/readings"):
        body = owner.get(f"{path}/latest", status=422, **{name: at(0)})
        assert [fault["loc"] for fault in body["errors"]] == [["query", name]]
    paths = owner.get("/openapi.json")["paths"]
    described = [
        {
            parameter.get("name")
            for parameter in paths[f"/api/v1/readings{end}"]["get"]["parameters"]
        }
        for end in ("", "/latest")
    ]
    assert [name in names for names in described] == [True, False]


def by_bucket(points: list[tuple[int, float]], interval_us: int) -> dict[int, list[float]]:
    found: dict[int, list[float]] = defaultdict(list)
    for us, value in points:
        found[at(us) // interval_us * interval_us].append(value)
    return found


def recomputed(values: list[float]) -> dict[str, float]:
    return {
        "avg": statistics.fmean(values),
        "min": min(values),
        "max": max(values),
        "sum": math.fsum(values),
        "count": len(values),
        "first": values[0],
        "last": values[-1],
        "stddev": statistics.pstdev(values),
    }


@pytest.mark.parametrize(("interval", "minutes"), [("1m", 1), ("5m", 5), ("1h", 60), ("1d", 1_440)])
def test_buckets_are_those_of_a_recomputation(
    owner: StationClient, random_points: list[tuple[int, float]], interval: str, minutes: int
) -> None:
    device = owner.register_device()
    send_series(owner, device, random_points)
    send_series(owner, device, [(5, "a text")], sensor_type="words")
    period = {"start": at(0), "end": at(60 * MINUTE_US)}
    found = items(
        owner, device.readings_path, interval=interval, aggregate=",".join(AGGREGATES), **period
    )
    expected = by_bucket(random_points, minutes * MINUTE_US)
    assert len(found) == len(expected)
    for row, (start_us, values) in zip(found, sorted(expected.items()), strict=True):
        assert row["device_id"] == device.id
        assert (row["sensor_type"], row["sensor_id"]) == ("t", "t")
        assert row["start"].startswith("2026-05-01T")
        for name, wanted in recomputed(values).items():
            assert math.isclose(row[name], wanted, rel_tol=1e-9, abs_tol=1e-6), (name, start_us)


@pytest.mark.parametrize("fill", ["none", "null", "previous", "linear"])
def test_fills_are_those_of_a_recomputation(
    owner: StationClient, random_points: list[tuple[int, float]], fill: str
) -> None:
    device = owner.register_device()
    send_series(owner, device, random_points)
    period = {"start": at(0), "end": at(60 * MINUTE_US)}
    found = items(
        owner, device.readings_path, interval="1m", aggregate="avg,count", fill=fill, **period
    )
    means = {us: statistics.fmean(v) for us, v in by_bucket(random_points, MINUTE_US).items()}
    first, last = min(means), max(means)
    minutes = sorted(means) if fill == "none" else list(range(first, last + 1, MINUTE_US))
    assert len(found) == len(minutes)
    for row, minute in zip(found, minutes, strict=True):
        if minute in means:
            wanted: float | None = means[minute]
        else:
            left = max(us for us in means if us < minute)
            right = min(us for us in means if us > minute)
            share = (minute - left) / (right - left)
            linear = means[left] + (means[right] - means[left]) * share
            wanted = {"null": None, "previous": means[left], "linear": linear}[fill]
            assert row["count"] == 0
        assert row["avg"] == pytest.approx(wanted) if wanted is not None else row["avg"] is None


def test_buckets_are_aligned_to_utc_and_cut_at_the_period(owner: StationClient) -> None:
    device = owner.register_device()
    send_series(owner, device, [(n * MINUTE_US, n) for n in range(10)])
    found = items(
        owner,
        device.readings_path,
        interval="5m",
        aggregate="count",
        start=at(3 * MINUTE_US),
        end=at(7 * MINUTE_US),
    )
    assert [(row["start"][11:16], row["count"]) for row in found] == [("12:00", 2), ("12:05", 2)]


def test_without_a_start_buckets_cover_the_last_day(owner: StationClient) -> None:
    device = owner.register_device()
    send_series(owner, device, [(0, 1)])
    owner.send(device, {"sensor_type": "t", "value": 5})
    rows = items(owner, device.readings_path, interval="1h", aggregate="last")
    assert [row["last"] for row in rows] in ([5], [1, 5])


def test_statistics_are_those_of_a_recomputation(
    owner: StationClient, random_points: list[tuple[int, float]]
) -> None:
    device = owner.register_device()
    send_series(owner, device, random_points)
    send_series(owner, device, [(5, "a text")], sensor_type="words")
    (found,) = items(owner, f"{device.readings_path}/stats")
    values = [value for _, value in random_points]
    wanted = recomputed(values)
    assert found["count"] == len(values)
    assert (found["min"], found["max"]) == (wanted["min"], wanted["max"])
    assert (found["first"], found["last"]) == (wanted["first"], wanted["last"])
    assert found["mean"] == pytest.approx(wanted["avg"])
    assert found["stddev"] == pytest.approx(wanted["stddev"])
    ordered = sorted(values)
    for name, share in (("p50", 0.5), ("p95", 0.95)):
        place = share * (len(ordered) - 1)
        low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
        assert low - 0.01 * abs(low) <= found[name] <= high + 0.01 * abs(high)
    assert found["start"] == "2026-05-01T12:00:" + found["start"][17:]
    part = items(
        owner, f"{device.readings_path}/stats", start=at(0), end=at(random_points[9][0] + 1)
    )
    assert part[0]["count"] == 10


def test_booleans_count_as_zero_and_one_and_texts_not_at_all(owner: StationClient) -> None:
    device = owner.register_device()
    send_series(owner, device, [(0, True), (1, False), (2, True), (3, "ajar")], sensor_type="door")
    (stats,) = items(owner, f"{device.readings_path}/stats")
    assert (stats["count"], stats["min"], stats["max"]) == (3, 0, 1)
    assert stats["mean"] == pytest.approx(2 / 3)
    (bucket,) = items(
        owner, device.readings_path, interval="1h", aggregate="count,sum", start=at(0), end=at(9)
    )
    assert (bucket["count"], bucket["sum"]) == (3, 2)


def test_numbers_too_large_to_sum_are_answered(owner: StationClient) -> None:
    device = owner.register_device()
    send_series(owner, device, [(0, 1.7e308), (1, 1.7e308), (2, -1.7e308)])
    (stats,) = items(owner, f"{device.readings_path}/stats")
    assert (stats["min"], stats["max"]) == (-1.7e308, 1.7e308)
    period = {"start": at(0), "end": at(9)}
    (bucket,) = items(
        owner, device.readings_path, interval="1h", aggregate=",".join(AGGREGATES), **period
    )
    assert bucket["count"] == 3


def test_latest_is_the_newest_by_its_own_time(owner: StationClient) -> None:
    device = owner.register_device()
    send_series(owner, device, [(5, 5), (9, 9), (7, 7)], sensor_type="a", unit="V")
    send_series(owner, device, [(1, True)], sensor_type="b")
    found = {r["sensor_type"]: r for r in items(owner, f"{device.readings_path}/latest")}
    assert (found["a"]["value"], found["a"]["unit"]) == (9, "V")
    assert found["b"]["value"] is True
    assert found["a"] == items(owner, device.readings_path, sensor_type="a", limit=1)[0]


def test_a_device_that_never_spoke_has_nothing(owner: StationClient) -> None:
    device = owner.register_device()
    for path in ("", "/latest", "/stats"):
        assert items(owner, f"{device.readings_path}{path}") == []
    assert items(owner, device.readings_path, interval="1h") == []
    assert items(owner, f"/api/v1/devices/{device.id}/refusals") == []
