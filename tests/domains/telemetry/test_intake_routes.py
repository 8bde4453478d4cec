"""Readings through the HTTP door: every form of a body, every limit, every refusal."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.clients import StationClient, TestDevice, expect
from tests.station_process import StationProcess, running_station

READING = {"sensor_type": "temperature", "value": 21.5}
SENT_FIELDS = ("sensor_type", "sensor_id", "value", "unit", "origin", "metadata")


def post(client: StationClient, device: TestDevice, body: bytes) -> Any:
    return client.http.post(device.readings_path, content=body, headers=device.headers)


def stored(client: StationClient, device: TestDevice, **query: Any) -> list[dict[str, Any]]:
    return client.get(device.readings_path, order="asc", limit=10_000, **query)["items"]


def values(client: StationClient, device: TestDevice) -> list[Any]:
    return [reading["value"] for reading in stored(client, device)]


@pytest.mark.parametrize(
    "body",
    [
        READING,
        [READING],
        {"readings": [READING]},
        {"readings": [{**READING, "sensor_type": "Temperature"}]},
        [{"reading_type": "TEMPERATURE", "value": 21.5}],
        [{**READING, "sensor_id": "temperature"}],
        {**READING, "unit": None, "timestamp": None, "metadata": None},
    ],
)
def test_each_form_of_a_body_stores_the_same_reading(owner: StationClient, body: Any) -> None:
    device = owner.register_device()
    assert owner.send(device, body) == {"accepted": 1, "duplicates": 0, "rejected": []}
    (reading,) = stored(owner, device)
    assert {name: reading[name] for name in SENT_FIELDS} == {
        "sensor_type": "temperature",
        "sensor_id": "temperature",
        "value": 21.5,
        "unit": None,
        "origin": None,
        "metadata": None,
    }
    assert reading["device_id"] == device.id
    assert reading["source_protocol"] == "http"
    assert (reading["anomaly"], reading["anomaly_score"]) == (False, None)


def test_a_reading_comes_back_as_it_was_sent(owner: StationClient) -> None:
    device = owner.register_device()
    sent = {
        "sensor_type": "soil moisture",
        "sensor_id": "Bed 3/ß",
        "value": -0.1234567890123456,
        "unit": "µS/cm",
        "origin": "edge",
        "timestamp": "2026-05-01T14:00:00.123456+02:00",
        "metadata": {"raw": [1, {"x": None}], "é": "ü"},
    }
    owner.send(device, {**sent, "battery": 3.7})
    (reading,) = stored(owner, device)
    assert {name: reading[name] for name in SENT_FIELDS if name != "metadata"} == {
        name: sent[name] for name in SENT_FIELDS if name != "metadata"
    }
    assert reading["metadata"] == {"battery": 3.7, "raw": [1, {"x": None}], "é": "ü"}
    assert reading["timestamp"] == "2026-05-01T12:00:00.123456Z"


@pytest.mark.parametrize("value", [0, -1.5, 1e-300, 1.7e308, True, False, "open", "", "ü" * 512])
def test_numbers_booleans_and_texts_keep_their_kind(owner: StationClient, value: Any) -> None:
    device = owner.register_device()
    owner.send(device, {"sensor_type": "t", "value": value})
    (found,) = values(owner, device)
    assert found == value
    assert isinstance(found, bool) == isinstance(value, bool)
    (latest,) = owner.get(f"{device.readings_path}/latest")["items"]
    assert latest["value"] == value


INSTANT = datetime(2026, 5, 1, 12, 0, 0, 123456, tzinfo=UTC)
SECONDS = INSTANT.timestamp()


@pytest.mark.parametrize(
    ("sent", "stored_as"),
    [
        (int(SECONDS), "12:00:00.000000Z"),
        (SECONDS, "12:00:00.123456Z"),
        (int(SECONDS * 1_000), "12:00:00.123000Z"),
        (round(SECONDS * 1_000_000), "12:00:00.123456Z"),
        (round(SECONDS * 1_000_000) * 1_000 + 999, "12:00:00.123456Z"),
        ("2026-05-01T12:00:00.123456Z", "12:00:00.123456Z"),
        ("2026-05-01T17:30:00.123456+05:30", "12:00:00.123456Z"),
    ],
)
def test_times_are_read_by_magnitude_and_offset(
    owner: StationClient, sent: Any, stored_as: str
) -> None:
    device = owner.register_device()
    owner.send(device, {**READING, "timestamp": sent})
    assert stored(owner, device)[0]["timestamp"] == f"2026-05-01T{stored_as}"


def test_a_reading_without_a_time_gets_that_of_its_receipt_plus_its_place(
    owner: StationClient,
) -> None:
    device = owner.register_device()
    before = datetime.now(UTC)
    owner.send(device, [READING] * 5)
    after = datetime.now(UTC) + timedelta(microseconds=5)
    times = [datetime.fromisoformat(reading["timestamp"]) for reading in stored(owner, device)]
    assert before <= times[0] <= times[-1] <= after
    assert [time - times[0] for time in times] == [timedelta(microseconds=n) for n in range(5)]


def test_assigned_times_strictly_increase_under_concurrency(owner: StationClient) -> None:
    device = owner.register_device()
    with ThreadPoolExecutor(4) as threads:
        sent = [threads.submit(owner.send, device, [READING] * 50) for _ in range(20)]
        results = [sending.result() for sending in sent]
    assert sum(result["accepted"] for result in results) == 1_000
    times = [reading["timestamp"] for reading in stored(owner, device)]
    assert len(times) == len(set(times)) == 1_000


BAD: list[tuple[bytes, str]] = [
    (b'{"sensor_type": "t", "value": NaN}', "not_finite"),
    (b'{"sensor_type": "t", "value": Infinity}', "not_finite"),
    (b'{"sensor_type": "t", "value": 1e999}', "not_finite"),
    (b'{"sensor_type": "t", "value": null}', "invalid_value"),
    (b'{"sensor_type": "t", "value": [1]}', "invalid_value"),
    (b'{"sensor_type": "t", "value": {}}', "invalid_value"),
    (b'{"sensor_type": "t"}', "value_missing"),
    (b'{"value": 1}', "sensor_type_missing"),
    (b'{"sensor_type": " ", "value": 1}', "sensor_type_missing"),
    (b'{"sensor_type": 5, "value": 1}', "invalid_reading"),
    (b'{"sensor_type": {"a": 1}, "value": 1}', "invalid_reading"),
    (b'"reading"', "invalid_reading"),
    (
        b'{"sensor_type": "t", "value": 1, "timestamp": "2126-01-01T00:00:00Z"}',
        "timestamp_in_future",
    ),
    (b'{"sensor_type": "t", "value": 1, "timestamp": "1999-12-31T23:59:59Z"}', "timestamp_too_old"),
    (b'{"sensor_type": "t", "value": 1, "timestamp": "soon"}', "invalid_timestamp"),
    (b'{"sensor_type": "t", "value": 1, "timestamp": true}', "invalid_reading"),
    (b'{"sensor_type": "t", "value": 1, "timestamp": NaN}', "invalid_timestamp"),
    (b'{"sensor_type": "t", "value": 1, "timestamp": ' + b"9" * 400 + b"}", "timestamp_in_future"),
    (b'{"sensor_type": "t", "value": ' + b"9" * 400 + b"}", "invalid_reading"),
    (b'{"sensor_type": "t", "value": "' + b"x" * 1025 + b'"}', "value_too_long"),
    (b'{"sensor_type": "t", "value": "a\\u0000b"}', "value_invalid"),
    (b'{"sensor_type": "t", "value": "\\ud800"}', "value_invalid"),
    (b'{"sensor_type": "' + b"x" * 51 + b'", "value": 1}', "sensor_type_too_long"),
    (b'{"sensor_type": "t", "sensor_id": "' + b"x" * 101 + b'", "value": 1}', "sensor_id_too_long"),
    (b'{"sensor_type": "t", "unit": "' + b"x" * 21 + b'", "value": 1}', "unit_too_long"),
    (b'{"sensor_type": "t", "origin": "' + b"x" * 21 + b'", "value": 1}', "origin_too_long"),
    (b'{"sensor_type": "t", "unit": "\\n", "value": 1}', "unit_invalid"),
    (b'{"sensor_type": "t", "value": 1, "x": "' + b"y" * 4096 + b'"}', "metadata_too_large"),
    (b'{"sensor_type": "t", "value": 1, "metadata": {"a": "\\ud800"}}', "metadata_invalid"),
    (b'{"sensor_type": "t", "value": 1, "metadata": [1]}', "invalid_reading"),
    (b'{"sensor_type": "' + ("İ" * 50).encode() + b'", "value": 1}', "sensor_type_too_long"),
]


@pytest.mark.parametrize(("bad", "error"), BAD, ids=[f"{n}-{e}" for n, (_, e) in enumerate(BAD)])
def test_a_bad_reading_is_rejected_with_its_reason_and_its_neighbours_are_stored(
    owner: StationClient, bad: bytes, error: str
) -> None:
    device = owner.register_device()
    before, after = (
        b'{"sensor_type": "before", "value": 1}',
        b'{"sensor_type": "after", "value": 2}',
    )
    answer = expect(post(owner, device, b"[" + before + b"," + bad + b"," + after + b"]"), 201)
    assert (answer["accepted"], answer["duplicates"]) == (2, 0)
    assert [(fault["index"], fault["error"]) for fault in answer["rejected"]] == [(1, error)]
    assert answer["rejected"][0]["detail"]
    assert sorted(values(owner, device)) == [1, 2]


@pytest.mark.parametrize(("bad", "error"), BAD[::4], ids=[e for _, e in BAD[::4]])
def test_when_none_is_valid_it_is_422_and_nothing_is_stored(
    owner: StationClient, bad: bytes, error: str
) -> None:
    device = owner.register_device()
    body = expect(post(owner, device, b"[" + bad + b"]"), 422)
    assert body["error"] == "no_valid_readings"
    assert [fault["error"] for fault in body["rejected"]] == [error]
    assert values(owner, device) == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"not json", 400),
        (b'[{"sensor_type": "t", "value": 1}', 400),
        (b'{"sensor_type": "t", "unit": "\xb0C", "value": 1}', 400),
        (b"[" * 100_000, 413),
        (b"null", 422),
        (b"5", 422),
        (b'{"readings": 5}', 422),
        (b'{"readings": {"sensor_type": "t", "value": 1}}', 422),
    ],
)
def test_a_body_that_holds_no_readings_is_refused(
    owner: StationClient, body: bytes, status: int
) -> None:
    device = owner.register_device()
    expect(post(owner, device, body), status)
    assert values(owner, device) == []


@pytest.mark.parametrize("body", [[], {"readings": []}])
def test_no_readings_are_no_mistake(owner: StationClient, body: Any) -> None:
    device = owner.register_device()
    assert owner.send(device, body) == {"accepted": 0, "duplicates": 0, "rejected": []}


def test_ten_thousand_readings_fit_and_one_more_is_refused(owner: StationClient) -> None:
    device = owner.register_device()
    start = round(SECONDS * 1_000_000)
    readings = [{**READING, "value": n, "timestamp": start + n} for n in range(10_001)]
    refused = owner.send(device, readings, status=413)
    assert refused["error"] == "too_many_readings"
    assert owner.get(device.readings_path)["items"] == []
    assert owner.send(device, {"readings": readings[:-1]})["accepted"] == 10_000
    assert owner.send(device, readings[1:])["duplicates"] == 9_999


def test_a_device_has_at_most_a_thousand_series(owner: StationClient) -> None:
    device = owner.register_device()
    readings = [{"sensor_type": f"t{n}", "value": n} for n in range(1_001)]
    answer = owner.send(device, readings)
    assert answer["accepted"] == 1_000
    assert [(fault["index"], fault["error"]) for fault in answer["rejected"]] == [
        (1_000, "too_many_series")
    ]
    assert owner.send(device, readings[:1_000])["accepted"] == 1_000


def test_duplicates_conflicts_and_late_readings(owner: StationClient) -> None:
    device = owner.register_device()
    at = round(SECONDS * 1_000_000)
    one = {**READING, "timestamp": at}
    owner.send(device, one)
    assert owner.send(device, one) == {"accepted": 0, "duplicates": 1, "rejected": []}
    same_otherwise = {**one, "unit": "K", "metadata": {"again": True}}
    assert owner.send(device, same_otherwise)["duplicates"] == 1
    answer = owner.send(device, [{**one, "value": 22}, {**one, "timestamp": at - 1, "value": 20}])
    assert answer["accepted"] == 1
    assert [(f["index"], f["error"]) for f in answer["rejected"]] == [(0, "timestamp_conflict")]
    assert values(owner, device) == [20, 21.5]
    assert stored(owner, device)[1]["unit"] is None


@pytest.mark.parametrize("pair", [(1, True), (0, False), (0, ""), ("a", "b"), (True, False)])
def test_another_kind_of_value_is_a_conflict(owner: StationClient, pair: tuple[Any, Any]) -> None:
    device = owner.register_device()
    readings = [{"sensor_type": "t", "value": v, "timestamp": SECONDS} for v in pair]
    owner.send(device, readings[0])
    answer = owner.send(device, readings[1])
    assert [fault["error"] for fault in answer["rejected"]] == ["timestamp_conflict"]
    assert values(owner, device) == [pair[0]]


def test_ids_are_opaque_stable_and_unique(owner: StationClient) -> None:
    device = owner.register_device()
    owner.send(device, [{"sensor_type": f"t{n % 3}", "value": n} for n in range(30)])
    found = [reading["id"] for reading in stored(owner, device)]
    assert len(set(found)) == 30
    assert [reading["id"] for reading in stored(owner, device)] == found


def test_a_user_may_write_for_a_device_with_the_scope(owner: StationClient) -> None:
    device = owner.register_device()
    expect(owner.http.post(device.readings_path, json=READING), 201)
    for scopes, status in (({"telemetry:write"}, 201), ({"telemetry:read", "devices:write"}, 403)):
        headers = {"Authorization": f"Bearer {owner.issue_user_key(*scopes)}"}
        expect(owner.http.post(device.readings_path, json=READING, headers=headers), status)
    assert len(values(owner, device)) == 2


def test_readings_for_a_missing_device_are_404(owner: StationClient) -> None:
    missing = "/api/v1/devices/01a2014f-0000-7000-8000-000000000000/readings"
    expect(owner.http.post(missing, json=READING), 404)


def test_a_spike_is_flagged_with_its_score_and_found_again(owner: StationClient) -> None:
    device = owner.register_device()
    at = round(SECONDS * 1_000_000)
    steady = [{**READING, "value": 20 + n % 5 * 0.1, "timestamp": at + n} for n in range(200)]
    owner.send(device, steady)
    owner.send(device, {**READING, "value": 35, "timestamp": at + 500})
    owner.send(device, {**READING, "value": 20.1, "timestamp": at + 501})
    (spike,) = stored(owner, device, anomaly="true")
    assert (spike["value"], spike["anomaly"]) == (35, True)
    assert spike["anomaly_score"] > 6
    assert owner.get(device.readings_path, limit=1)["items"][0]["anomaly"] is False


def test_the_largest_numbers_are_flagged_with_a_score(owner: StationClient) -> None:
    device = owner.register_device()
    owner.send(device, [{**READING, "value": 20 + n % 5 * 0.1} for n in range(100)])
    owner.send(device, {**READING, "value": 1.7e308})
    (spike,) = stored(owner, device, anomaly="true")
    assert spike["anomaly_score"] is not None


def test_neighbours_of_a_poisoned_body_are_stored(
    owner: StationClient, other_owner: StationClient
) -> None:
    """What one device sends must not fail the commit that others wait for."""
    mine, theirs = owner.register_device(), other_owner.register_device()
    poison = [
        b'[{"sensor_type": "p", "value": "\\ud800"}]',
        b'[{"sensor_type": "p", "value": "\\u0000"}]',
        ('[{"sensor_type": "' + "İ" * 50 + '", "value": 1}]').encode(),
        b'[{"sensor_type": "p", "value": 1, "metadata": {"\\ud800": 1}}]',
    ]

    def send_poison(n: int) -> int:
        with StationClient(owner.url) as other:
            return post(other, mine, poison[n % len(poison)]).status_code

    def send_readings(_: int) -> int:
        with StationClient(owner.url) as other:
            return other.send(theirs, [READING])["accepted"]

    with ThreadPoolExecutor(6) as threads:
        refused = threads.map(send_poison, range(40))
        accepted = list(threads.map(send_readings, range(40)))
        assert {status // 100 for status in refused} == {4}
    assert accepted == [1] * 40
    assert len(values(other_owner, theirs)) == 40


def test_what_is_acknowledged_is_there_after_a_kill(own_station: StationProcess) -> None:
    with StationClient(own_station.url) as client:
        device = client.sign_up().register_device()
        sent = [
            {"sensor_type": f"t{n}", "value": value, "unit": "V", "metadata": {"n": n}}
            for n, value in enumerate((1.5, True, "open"))
        ]
        client.send(device, sent)
        before = (stored(client, device), client.get("/api/v1/readings/latest"))
        own_station.kill()
        own_station.start()
        assert (stored(client, device), client.get("/api/v1/readings/latest")) == before


def test_latest_is_the_same_after_it_was_saved_and_the_station_killed(tmp_path: Any) -> None:
    environment = {"LAST_VALUES_FLUSH_INTERVAL_S": "0.05"}
    with (
        running_station(tmp_path / "data", environment=environment) as station,
        StationClient(station.url) as client,
    ):
        device = client.sign_up().register_device()
        client.send(device, {"sensor_type": "a", "value": "open", "metadata": {"door": 4}})
        client.send(device, [{"sensor_type": "b", "value": 20 + n % 3} for n in range(60)])
        client.send(device, {"sensor_type": "b", "value": 99})
        before = client.get("/api/v1/readings/latest")
        station.stop()  # saves
        station.start()
        assert client.get("/api/v1/readings/latest") == before
        station.kill()
        station.start()
        assert client.get("/api/v1/readings/latest") == before


def test_the_station_numbers_what_it_took(owner: StationClient) -> None:
    before = owner.get("/api/v1/system/metrics")["readings_accepted"]
    owner.send(owner.register_device(), [READING] * 3)
    assert owner.get("/api/v1/system/metrics")["readings_accepted"] == before + 3
