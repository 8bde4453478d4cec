"""``import``: a station moves by its exported files; nothing is stored twice, nothing is lost."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fieldstation.adapters.control import ask_station
from fieldstation.core.errors import StationError
from tests.cli.commands import run_command
from tests.clients import StationClient, TestDevice
from tests.station_process import StationProcess, running_station

START_US = 1_777_636_800_000_000
FORMATS = ("csv", "jsonl", "parquet", "xlsx")
DECIDED_HERE = {"id"}
"""A reading's id names a series of one station."""


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[StationClient, TestDevice]]:
    """A station with readings of every kind, some of them anomalies."""
    with (
        running_station(tmp_path_factory.mktemp("from") / "data") as station,
        StationClient(station.url) as client,
    ):
        device = client.sign_up().register_device(name="greenhouse")
        numbers = [20 + (at * 7 % 10) / 10 for at in range(200)]
        numbers[150] = -400.25
        numbers += [0.1 + 0.2, 5e-324, 1.7976931348623157e308, -0.0]
        texts = ["=1+1", "-5", "'", "", "TRUE", "1e3", "a\r\n\tb", "Zürich 水", "_x0041_", "\x01"]
        client.send(
            device,
            [
                *(
                    {"sensor_type": "t", "value": value, "timestamp": START_US + at, "unit": "°C"}
                    for at, value in enumerate(numbers)
                ),
                *(
                    {
                        "sensor_type": "note",
                        "sensor_id": "=n",
                        "value": value,
                        "timestamp": START_US + at,
                        "origin": "-edge",
                        "metadata": {"raw": [1, 2.5, None, {"深": True}], "text": value},
                    }
                    for at, value in enumerate(texts)
                ),
                {"sensor_type": "door", "value": True, "timestamp": START_US + 1_000},
                {"sensor_type": "door", "value": False, "timestamp": START_US + 1_001},
                {"sensor_type": "t", "value": 1, "timestamp": START_US + 1_002, "unit": "K"},
            ],
        )
        yield client, device


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[StationProcess]:
    with running_station(tmp_path / "to") as station:
        yield station


def save(client: StationClient, path: Path, **form: Any) -> Path:
    answer = client.http.post("/api/v1/data/export", json={"format": path.suffix[1:], **form})
    assert answer.status_code == 200, answer.text
    path.write_bytes(answer.content)
    return path


def readings(client: StationClient) -> list[dict[str, Any]]:
    text = client.http.post("/api/v1/data/export", json={"format": "jsonl"}).text
    return [
        {name: part for name, part in json.loads(line).items() if name not in DECIDED_HERE}
        for line in text.splitlines()
    ]


def slug_of(client: StationClient) -> str:
    return client.get("/api/v1/organizations")["items"][0]["slug"]


@pytest.mark.parametrize("kind", FORMATS)
def test_a_station_moves_by_any_format(
    moving: tuple[StationClient, TestDevice], empty: StationProcess, tmp_path: Path, kind: str
) -> None:
    client, _ = moving
    path = save(client, tmp_path / f"readings.{kind}")
    with StationClient(empty.url) as other:
        there = slug_of(other.sign_up())
        arguments = ("import", path, "--organization", there, "--create-devices")

        done = run_command(*arguments, data_dir=empty.data_dir)

        assert done.returncode == 0, done.stderr
        assert "217 stored, 0 duplicates, 0 conflicts, 0 rejected" in done.stdout
        wanted = readings(client)
        assert sum(reading["anomaly"] for reading in wanted) >= 1
        assert readings(other) == wanted

        again = run_command(*arguments, data_dir=empty.data_dir)
        assert "0 stored, 217 duplicates, 0 conflicts, 0 rejected" in again.stdout
        assert readings(other) == wanted


def test_devices_that_are_not_here_are_refused_mapped_or_made(
    moving: tuple[StationClient, TestDevice], empty: StationProcess, tmp_path: Path
) -> None:
    client, device = moving
    path = save(client, tmp_path / "readings.csv", sensor_types=["door"])
    with StationClient(empty.url) as other:
        arguments = ("import", path, "--organization", slug_of(other.sign_up()))

        refused = run_command(*arguments, data_dir=empty.data_dir)
        assert refused.returncode == 1
        assert "2 rejected" in refused.stdout
        assert "line 2: unknown_device" in refused.stderr
        assert "--create-devices" in refused.stderr

        here = other.register_device(name="the new one")
        pair = ("--device", f"{device.id}=the new one")
        mapped = run_command(*arguments, *pair, data_dir=empty.data_dir)
        assert mapped.returncode == 0, mapped.stderr
        assert {reading["device_id"] for reading in readings(other)} == {here.id}

        with StationClient(empty.url) as third:
            there = slug_of(third.sign_up())
            theirs = run_command(
                *("import", path, "--organization", there, "--create-devices"),
                *("--device", f"{device.id}=nobody"),
                data_dir=empty.data_dir,
            )
            assert theirs.returncode == 1
            assert "No device, or more than one, has the id or name nobody" in theirs.stderr


def test_conflicts_and_faults_are_named_with_their_lines_and_the_rest_is_stored(
    empty: StationProcess, tmp_path: Path
) -> None:
    with StationClient(empty.url) as client:
        device = client.sign_up().register_device()
        client.send(device, {"sensor_type": "t", "value": 1, "timestamp": START_US})
        row = {"device_id": device.id, "sensor_type": "t"}
        given = [
            {**row, "value": 2, "timestamp": START_US},
            {**row, "value": 1, "timestamp": START_US},
            {**row, "value": 3, "timestamp": START_US + 1},
            {**row, "value": 3},
            {**row, "value": "x" * 2_000, "timestamp": START_US + 2},
            {**row, "value": 3, "timestamp": "1999-01-01T00:00:00Z"},
            {"sensor_type": "t", "value": 3, "timestamp": START_US + 3},
            {**row, "timestamp": START_US + 4},
        ]
        path = tmp_path / "readings.jsonl"
        path.write_text("\n".join([*map(json.dumps, given), "no json"]))
        report = tmp_path / "report.jsonl"

        dry = run_command(
            *("import", path, "--dry-run", "--organization", slug_of(client)),
            data_dir=empty.data_dir,
        )
        assert "3 could be stored" in dry.stdout
        assert len(readings(client)) == 1

        done = run_command(
            *("import", path, "--report", report, "--organization", slug_of(client)),
            data_dir=empty.data_dir,
        )

        assert done.returncode == 1
        assert "1 stored, 1 duplicates, 1 conflicts, 6 rejected" in done.stdout
        found = {
            fault["place"]: fault["error"]
            for fault in map(json.loads, report.read_text().splitlines())
        }
        assert found == {
            "line 1": "timestamp_conflict",
            "line 4": "no_timestamp",
            "line 5": "value_too_long",
            "line 6": "timestamp_too_old",
            "line 7": "no_device",
            "line 8": "value_missing",
            "line 9": "unreadable",
        }
        assert "line 4: no_timestamp" in done.stderr
        assert [reading["value"] for reading in readings(client)] == [1, 3]


def test_an_import_goes_on_where_it_stopped(empty: StationProcess, tmp_path: Path) -> None:
    with StationClient(empty.url) as client:
        device = client.sign_up().register_device()
        path = tmp_path / "readings.jsonl"
        row = {"device_id": device.id, "sensor_type": "t"}
        path.write_text(
            "\n".join(
                json.dumps({**row, "value": at, "timestamp": START_US + at}) for at in range(2_500)
            )
        )
        arguments = ("import", path, "--organization", slug_of(client), "--from-row", "2001")
        done = run_command(*arguments, data_dir=empty.data_dir)
        assert "500 stored, 0 duplicates" in done.stdout
        whole = run_command(*arguments[:-2], data_dir=empty.data_dir)
        assert "2000 stored, 500 duplicates" in whole.stdout
        assert len(readings(client)) == 2_500


def test_a_row_that_is_too_long_is_rejected_alone(empty: StationProcess, tmp_path: Path) -> None:
    with StationClient(empty.url) as client:
        device = client.sign_up().register_device()
        row = {"device_id": device.id, "sensor_type": "t", "timestamp": START_US}
        path = tmp_path / "readings.jsonl"
        path.write_text(
            json.dumps({**row, "value": "x" * 70_000}) + "\n" + json.dumps({**row, "value": 1})
        )
        done = run_command(
            "import", path, "--organization", slug_of(client), data_dir=empty.data_dir
        )
        assert "line 1: unreadable: longer than 64 KiB." in done.stderr
        assert "1 stored, 0 duplicates, 0 conflicts, 1 rejected" in done.stdout


def test_the_station_takes_so_many_rows_at_a_time(empty: StationProcess) -> None:
    rows = [{"device_id": "d"}] * 2_001
    arguments = {"organization_id": "o", "rows": rows, "dry_run": True}
    with pytest.raises(StationError, match="2001 rows are more than 2000"):
        asyncio.run(ask_station(empty.data_dir / "control.sock", "import.rows", arguments))


def test_without_a_station_or_a_format_one_sentence_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "readings.csv"
    path.write_text("value\r\n1\r\n")
    alone = run_command("import", path, data_dir=tmp_path / "none")
    assert alone.returncode == 1
    assert "No station runs in" in alone.stderr
    other = tmp_path / "readings.doc"
    other.write_text("x")
    wrong = run_command("import", other, data_dir=tmp_path / "none")
    assert wrong.returncode == 1
    assert "name the file .csv, .jsonl, .parquet or .xlsx" in wrong.stderr
    slip = run_command("import", path, "--device", "x", data_dir=tmp_path / "none")
    assert slip.returncode == 2


def test_an_unknown_organization_is_named(empty: StationProcess, tmp_path: Path) -> None:
    path = tmp_path / "readings.csv"
    path.write_text("value\r\n1\r\n")
    done = run_command("import", path, "--organization", "nobody", data_dir=empty.data_dir)
    assert (done.returncode, done.stdout) == (1, "")
    assert "No organization has the id or slug nobody" in done.stderr
