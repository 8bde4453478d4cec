"""Trends through the door: periods, defaults, who sees what, and questions that make no sense."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.clients import StationClient, TestDevice, expect

PATH = "/api/v1/analytics/trends"
HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
START_US = 20_574 * DAY_US  # 2026-05-01
WEEK = {"start": START_US, "end": START_US + 7 * DAY_US}


def send_days(client: StationClient, device: TestDevice, *values: Any, kind: str = "t") -> None:
    """Send one reading a day, at noon, from the first of May on."""
    readings = [
        {"sensor_type": kind, "value": value, "timestamp": START_US + day * DAY_US + 12 * HOUR_US}
        for day, value in enumerate(values)
    ]
    assert client.send(device, readings)["accepted"] == len(values)


def items(client: StationClient, **query: Any) -> list[dict[str, Any]]:
    return client.get(PATH, **query)["items"]


def test_trend_tells_a_period_against_the_one_before(client: StationClient) -> None:
    device = client.register_device()
    send_days(client, device, 10, 12, 14, 20, 22, 24)
    found = client.get(PATH, metric="T", start=START_US + 3 * DAY_US, end=START_US + 6 * DAY_US)
    (item,) = found.pop("items")
    assert found == {
        "interval_s": 86_400,
        "aggregate": "avg",
        "group_by": "device",
        "start": "2026-05-04T00:00:00.000000Z",
        "end": "2026-05-07T00:00:00.000000Z",
    }
    assert item.pop("slope_per_day") == pytest.approx(2)
    assert item.pop("relative_change") == pytest.approx(10 / 12)
    assert item == {
        "sensor_type": "t",
        "device_id": device.id,
        "tag": None,
        "series": 1,
        "units": [],
        "count": 3,
        "value": 22,
        "previous_count": 3,
        "previous_value": 12,
        "change": 10,
        "direction": "rising",
        "buckets": [
            {"start": f"2026-05-0{day}T00:00:00.000000Z", "value": value, "count": 1}
            for day, value in ((4, 20), (5, 22), (6, 24))
        ],
    }


@pytest.mark.parametrize(
    ("named", "days", "interval_s"),
    [
        ("24h", 1, 3_600),
        ("7d", 7, 86_400),
        ("30d", 30, 86_400),
        ("90d", 90, 86_400),
        ("1y", 365, 86_400),
        (None, 7, 86_400),
    ],
)
def test_range_reaches_back_from_now(
    owner: StationClient, named: str | None, days: int, interval_s: int
) -> None:
    query: dict[str, Any] = {} if named is None else {"range": named}
    found = owner.get(PATH, **query)
    start, end = (datetime.fromisoformat(found[name]) for name in ("start", "end"))
    assert end - start == timedelta(days=days)
    assert abs(datetime.now(UTC) - end) < timedelta(minutes=1)
    assert found["interval_s"] == interval_s
    earlier = owner.get(PATH, range="7d", end=START_US, interval="2d")
    assert (earlier["start"], earlier["interval_s"]) == ("2026-04-24T00:00:00.000000Z", 172_800)


def test_newest_reading_is_in_the_period(client: StationClient) -> None:
    device = client.register_device()
    client.send(device, {"sensor_type": "t", "value": 5, "unit": "°C"})
    (item,) = items(client, range="24h")
    assert (item["value"], item["count"], item["units"]) == (5, 1, ["°C"])
    assert (item["change"], item["slope_per_day"], item["direction"]) == (None, None, None)


def test_booleans_are_numbers_and_texts_are_none(client: StationClient) -> None:
    device = client.register_device()
    send_days(client, device, True, False, True, True, kind="door")
    send_days(client, device, "ajar", "shut", kind="words")
    (item,) = items(client, **WEEK)
    assert (item["sensor_type"], item["value"], item["count"]) == ("door", 0.75, 4)


def test_tags_gather_devices(client: StationClient) -> None:
    both = client.register_device(tags=["north", "old"])
    send_days(client, both, 1, 2)
    send_days(client, client.register_device(tags=["north"]), 5, 6)
    send_days(client, client.register_device(), 100)
    found = items(client, group_by="tag", aggregate="max", **WEEK)
    assert [(one["tag"], one["device_id"], one["value"], one["series"]) for one in found] == [
        ("north", None, 6, 2),
        ("old", None, 2, 1),
    ]
    (everything,) = items(client, group_by="type", aggregate="sum", **WEEK)
    assert (everything["tag"], everything["device_id"], everything["value"]) == (None, None, 114)
    assert [bucket["value"] for bucket in everything["buckets"]] == [106, 8, 0, 0, 0, 0, 0]


def test_readings_of_a_deleted_device_stay_in_its_trend(client: StationClient) -> None:
    device = client.register_device(tags=["gone"])
    send_days(client, device, 1)
    expect(client.http.delete(f"/api/v1/devices/{device.id}"), 204)
    assert [one["device_id"] for one in items(client, **WEEK)] == [device.id]
    assert items(client, group_by="tag", **WEEK) == []


def test_nobody_sees_a_stranger_s_trends(client: StationClient, stranger: StationClient) -> None:
    device, sibling = (client.register_device(tags=["north"]) for _ in range(2))
    send_days(client, device, 1, 2)
    send_days(client, sibling, 3)
    for group_by in ("device", "tag", "type"):
        asked = {"group_by": group_by, "aggregate": "count", **WEEK}
        assert items(stranger, **asked) == []
        assert items(stranger, **asked, device_id=device.id) == []
        assert sum(one["count"] for one in items(client, **asked)) == 3
        own = expect(client.http.get(PATH, params=asked, headers=device.headers), 200)["items"]
        assert sum(one["count"] for one in own) == 2
        asked["device_id"] = sibling.id
        assert (
            expect(client.http.get(PATH, params=asked, headers=device.headers), 200)["items"] == []
        ), "a device sees itself alone"


def test_the_largest_numbers_are_answered_without_infinities(client: StationClient) -> None:
    device = client.register_device()
    send_days(client, device, 1.7e308, 1.7e308, -1.7e308, 1.7e308)
    (item,) = items(client, **WEEK)
    assert (item["value"], item["slope_per_day"], item["count"]) == (None, None, 4)
    (highest,) = items(client, aggregate="max", **WEEK)
    assert highest["value"] == 1.7e308


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ({"range": "5d"}, "range"),
        ({"range": "7d", "start": START_US}, "range"),
        ({"start": START_US, "end": START_US}, "end"),
        ({"start": "2999-01-01"}, "end"),
        ({"end": "1960-01-01"}, "end"),
        ({"start": "yesterday"}, "start"),
        ({"interval": "5m"}, "interval"),
        ({"interval": "60m"}, "interval"),
        ({"interval": "0d"}, "interval"),
        ({"interval": "1h", "start": "0001-01-01", "end": "9999-01-01"}, "interval"),
        ({"group_by": "room"}, "group_by"),
        ({"aggregate": "avg,max"}, "aggregate"),
        ({"metric": ["t"] * 101}, "metric"),
    ],
)
def test_question_that_makes_no_sense_is_told_what_to_do(
    owner: StationClient, query: dict[str, Any], name: str
) -> None:
    body = owner.get(PATH, status=422, **query)
    assert [fault["loc"] for fault in body["errors"]] == [["query", name]]
    assert len(body["detail"]) < 300


def test_longest_period_and_interval_are_answered(client: StationClient) -> None:
    device = client.register_device()
    send_days(client, device, 1, 2)
    period = {"start": "0001-01-01", "end": "9999-12-31"}
    for aggregate in ("avg", "sum"):
        (item,) = items(client, interval="999999w", aggregate=aggregate, **period)
        assert (item["count"], len(item["buckets"])) == (2, 1)
    assert client.get(PATH, interval="52w", **period)["start"] == "1970-01-01T00:00:00.000000Z"
