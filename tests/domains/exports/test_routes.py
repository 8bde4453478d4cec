"""Exports over HTTP: what is in the file, who refuses what, and files that end too early."""

import csv
import io
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from tests.clients import StationClient, TestDevice, expect
from tests.station_process import StationProcess, running_station
from tests.wait_until import wait_until_blocking

START_US = 1_777_636_800_000_000
PATH = "/api/v1/data/export"
JOBS = "/api/v1/data/exports"
FORMATS = {
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/jsonl",
    "parquet": "application/vnd.apache.parquet",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
MAGIC = {"csv": b"id,timestamp,", "jsonl": b'{"id":"', "parquet": b"PAR1", "xlsx": b"PK"}


@pytest.fixture(scope="module")
def device(owner: StationClient) -> TestDevice:
    """A device with readings of every kind."""
    device = owner.register_device()
    many = [
        {"sensor_type": "t", "value": at, "timestamp": START_US + at, "unit": "°C"}
        for at in range(5)
    ]
    others = [
        {"sensor_type": "door", "value": True, "timestamp": START_US + 10},
        {"sensor_type": "note", "value": "=1", "timestamp": START_US + 11, "metadata": {"a": 1}},
    ]
    owner.send(device, [*many, *others])
    return device


def export(client: StationClient, **form: Any) -> httpx2.Response:
    return client.http.post(PATH, json=form)


def lines(answer: httpx2.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def finished(client: StationClient, export_id: str) -> dict[str, Any]:
    path = f"{JOBS}/{export_id}"
    wait_until_blocking(lambda: client.get(path)["status"] in {"finished", "failed"})
    return client.get(path)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.usefixtures("device")
def test_a_file_says_what_it_is(owner: StationClient, kind: str) -> None:
    answer = export(owner, format=kind, start=START_US, end=START_US + 60_000_000)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == FORMATS[kind]
    assert answer.headers["content-disposition"] == (
        f'attachment; filename="readings-20260501T120000Z-20260501T120100Z.{kind}"'
    )
    assert answer.content.startswith(MAGIC[kind])


def test_json_lines_are_what_the_api_shows_oldest_first(
    owner: StationClient, device: TestDevice
) -> None:
    shown = owner.get(device.readings_path, order="asc")["items"]
    assert len(shown) == 7
    assert lines(export(owner, format="jsonl", device_ids=[device.id])) == shown


def test_period_types_and_columns_choose_what_is_written(
    owner: StationClient, device: TestDevice
) -> None:
    start, end = START_US + 1, START_US + 4
    found = lines(export(owner, format="jsonl", start=start, end=end, device_ids=[device.id]))
    assert [reading["value"] for reading in found] == [1, 2, 3]
    found = lines(export(owner, format="jsonl", sensor_types=["Door", "note"], columns=["value"]))
    assert found == [{"value": True}, {"value": "=1"}]
    text = export(owner, format="csv", sensor_types=["note"], columns=["value", "metadata"]).text
    assert list(csv.reader(io.StringIO(text))) == [["value", "metadata"], ["'=1", '{"a":1}']]


def test_the_alias_is_the_same_route(owner: StationClient, device: TestDevice) -> None:
    form = {"format": "jsonl", "device_ids": [device.id]}
    assert lines(owner.http.post("/api/data/export", json=form)) == lines(export(owner, **form))


def test_what_cannot_be_exported_is_refused_with_what_to_do(
    owner: StationClient, other_owner: StationClient
) -> None:
    foreign = other_owner.register_device()
    for device_id in (foreign.id, str(uuid4())):
        answer = export(owner, format="csv", device_ids=[device_id])
        assert (answer.status_code, answer.json()["error"]) == (422, "unknown_reference")
    empty = export(owner, format="csv", start=START_US, end=START_US)
    assert (empty.status_code, empty.json()["errors"][0]["loc"]) == (422, ["body", "end"])
    for wrong in (
        {"format": "doc"},
        {"format": "csv", "columns": ["value", "value"]},
        {"format": "csv", "columns": ["what"]},
        {"format": "csv", "columns": []},
        {"format": "csv", "what": 1},
    ):
        assert export(owner, **wrong).status_code == 422


def test_a_new_device_without_readings_is_an_empty_file(owner: StationClient) -> None:
    device = owner.register_device()
    assert export(owner, format="jsonl", device_ids=[device.id]).content == b""
    header = export(owner, format="csv", device_ids=[device.id], columns=["value"])
    assert header.content == b"value\r\n"


def test_readings_of_a_deleted_device_are_exported_until_they_go(owner: StationClient) -> None:
    device = owner.register_device()
    owner.send(device, {"sensor_type": "t", "value": 1})
    expect(owner.http.delete(f"/api/v1/devices/{device.id}"), 204)
    assert len(lines(export(owner, format="jsonl", device_ids=[device.id]))) == 1


@pytest.mark.parametrize("kind", FORMATS)
def test_a_job_writes_the_same_file(owner: StationClient, device: TestDevice, kind: str) -> None:
    form = {"format": kind, "device_ids": [device.id]}
    answer = owner.http.post(f"{PATH}?wait=false", json=form)
    made = expect(answer, 202)
    assert answer.headers["location"] == f"{JOBS}/{made['id']}"
    assert made["status"] == "pending"

    done = finished(owner, made["id"])

    assert (done["status"], done["progress"], done["readings"]) == ("finished", 1, 7)
    file = owner.http.get(f"{JOBS}/{made['id']}/download")
    assert file.headers["content-length"] == str(done["bytes"])
    assert file.headers["content-type"] == FORMATS[kind]
    if kind != "xlsx":  # which names the time at which it was made
        assert file.content == export(owner, **form).content
    assert done["id"] in {item["id"] for item in owner.get(JOBS, limit=200)["items"]}
    expect(owner.http.delete(f"{JOBS}/{made['id']}"), 204)
    owner.get(f"{JOBS}/{made['id']}/download", status=404)


def test_a_list_of_exports_has_pages_newest_first(client: StationClient) -> None:
    made = [
        expect(client.http.post(f"{PATH}?wait=false", json={"format": "csv"}), 202)["id"]
        for _ in range(3)
    ]
    first = client.get(JOBS, limit=2, include_total=True)
    assert [item["id"] for item in first["items"]] == made[:0:-1]
    assert first["total"] == 3
    rest = client.get(JOBS, limit=2, cursor=first["next_cursor"])
    assert ([item["id"] for item in rest["items"]], rest["next_cursor"]) == (made[:1], None)


def test_by_http_1_0_where_an_end_cannot_be_told_from_a_break_it_is_a_job(
    owner: StationClient, station: StationProcess
) -> None:
    body = json.dumps({"format": "csv"}).encode()
    head = (
        f"POST {PATH} HTTP/1.0\r\nHost: station\r\nAuthorization: Bearer {owner.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", station.port), timeout=20) as line:
        line.sendall(head.encode() + body)
        answer = b"".join(iter(lambda: line.recv(65536), b""))
    assert answer.split(b" ", 2)[1] == b"202"


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[StationProcess, Any]]:
    """A station with enough readings that no socket's buffers hold them, and short patience."""
    environment = {"EXPORT_STALL_TIMEOUT_S": "1", "EXPORT_STREAMS_MAX": "1"}
    with (
        running_station(
            tmp_path_factory.mktemp("loaded") / "data", environment=environment
        ) as station,
        StationClient(station.url) as client,
    ):
        device = client.sign_up().register_device()
        for start in range(0, 100_000, 10_000):
            readings = [
                {"sensor_type": "t", "value": at, "timestamp": START_US + at}
                for at in range(start, start + 10_000)
            ]
            client.send(device, readings)
        yield station, client


def begin(station: StationProcess, client: StationClient) -> socket.socket:
    """Ask for a long file on a connection with small buffers; return it with the file begun."""
    body = b'{"format": "jsonl"}'
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1:{station.port}\r\n"
        f"Authorization: Bearer {client.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
    line.settimeout(20)
    line.connect(("127.0.0.1", station.port))
    line.sendall(head.encode() + body)
    assert b"200 OK" in line.recv(4_096)
    return line


def may_begin(client: StationClient) -> bool:
    """Whether the only place for a file is free."""
    answer = export(client, format="jsonl", start=START_US, end=START_US + 1)
    assert answer.status_code in {200, 503}, answer.text
    return answer.status_code == 200


def test_a_client_that_takes_nothing_is_broken_off_and_sees_it(
    loaded: tuple[StationProcess, StationClient],
) -> None:
    station, client = loaded
    with begin(station, client) as line:
        busy = export(client, format="csv")
        assert (busy.status_code, busy.json()["error"]) == (503, "too_many_streams")
        wait_until_blocking(lambda: "download_stalled" in station.output())
        received = b"".join(iter(lambda: line.recv(1 << 20), b""))
    assert not received.endswith(b"0\r\n\r\n")
    assert received.count(b"\n") < 100_000
    wait_until_blocking(lambda: may_begin(client))


def test_a_client_that_goes_away_frees_its_place(
    loaded: tuple[StationProcess, StationClient],
) -> None:
    station, client = loaded
    with begin(station, client):
        assert not may_begin(client)
    wait_until_blocking(lambda: may_begin(client))


def test_a_whole_file_ends_with_its_last_chunk(
    loaded: tuple[StationProcess, StationClient],
) -> None:
    _, client = loaded
    found = lines(export(client, format="jsonl", columns=["value"]))
    assert [reading["value"] for reading in found] == list(range(100_000))


def test_a_killed_station_writes_its_export_anew(tmp_path: Path) -> None:
    with running_station(tmp_path / "data") as station, StationClient(station.url) as client:
        device = client.sign_up().register_device()
        for start in range(0, 40_000, 10_000):
            readings = [
                {"sensor_type": "t", "value": at, "timestamp": START_US + at}
                for at in range(start, start + 10_000)
            ]
            client.send(device, readings)
        made = expect(client.http.post(f"{PATH}?wait=false", json={"format": "xlsx"}), 202)
        path = f"{JOBS}/{made['id']}"
        wait_until_blocking(lambda: client.get(path)["status"] == "running")
        station.kill()
        station.start()
        done = finished(client, made["id"])
        assert (done["status"], done["readings"]) == ("finished", 40_000)
        assert client.http.get(f"{path}/download").content.startswith(b"PK")
        left = [path for path in (station.data_dir / "exports").rglob("*") if path.is_file()]
        assert len(left) <= 2
