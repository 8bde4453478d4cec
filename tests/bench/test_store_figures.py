"""Disk, growth and year: what is computed from what was measured."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from rich.console import Console

from bench.data import SENSORS, Reading
from bench.encoding import body_json
from bench.p08_disk import Space, directory_bytes, file_space
from bench.p11_growth import BYTES_FREE_MIN, disk_lack, span_us
from bench.p18_memory import BATCH_READINGS, batch, growth_percent, wanted_duration_s
from bench.plan import Plan
from bench.processes import ProcessFailedError
from bench.raw_copy import batches
from bench.spool import Spool, write_spool
from bench.steady_load import Waves
from bench.synthetic import US_PER_HOUR
from bench.workload import Message, Workload
from bench.year import demand_whole, origin, whole_year_bytes
from fieldstation.domains.telemetry.store.entries import decode_points

BASE_S = 1_790_000_000


def test_free_pages_are_told_apart_and_the_log_counts(tmp_path: Path) -> None:
    file = tmp_path / "some.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE t (b BLOB)")
        connection.execute("INSERT INTO t VALUES (zeroblob(1000000))")
        full = file_space(file, 1_000)
        connection.execute("DELETE FROM t")
    emptied = file_space(file, 1_000)

    assert full.bytes > 1_000_000
    assert full.free == 0
    assert emptied.bytes == full.bytes
    assert emptied.free > 990_000


def test_bytes_per_reading_leave_free_pages_out() -> None:
    assert Space(readings=100, bytes=1_000, free=800).per_reading == 2


def test_a_directory_takes_what_is_allocated_not_what_its_files_could_hold(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "full").write_bytes(b"x" * 100_000)
    with (tmp_path / "sparse").open("wb") as sparse:
        sparse.truncate(50_000_000)

    assert 100_000 <= directory_bytes(tmp_path) < 1_000_000


def test_a_size_is_reached_in_whole_hours() -> None:
    assert span_us(10**6) == 28 * US_PER_HOUR
    assert span_us(36_000) == US_PER_HOUR


def test_too_little_disk_is_said_with_both_sizes() -> None:
    assert disk_lack(BYTES_FREE_MIN + 4 * 10**9, 10**9) is None
    assert disk_lack(5 * 10**9, 10**9) == "needs 6.1 GB of free disk, there are 5.0 GB"


@pytest.mark.parametrize(
    ("samples", "percent"),
    [
        ([10.0, 60.0, *[100.0] * 6], 0),
        ([90.0, 90.0, *[100.0 + at for at in range(-3, 4)]], 6),
    ],
)
def test_growth_is_that_of_a_line_behind_the_settling(samples: list[float], percent: float) -> None:
    assert growth_percent(samples) == pytest.approx(percent)


@pytest.mark.parametrize("wanted", ["14", "601", "ten", ""])
def test_a_load_that_is_too_short_to_tell_or_outlasts_the_data_is_refused(
    wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan(tmp_path, (), quick=True, rounds=1, console=Console())
    monkeypatch.setenv("BENCH_MEMORY_S", "15")
    assert wanted_duration_s(plan) == 15

    monkeypatch.setenv("BENCH_MEMORY_S", wanted)
    with pytest.raises(ProcessFailedError, match="from 15 to 600"):
        wanted_duration_s(plan)


def test_a_steady_batch_has_each_sensor_once_a_second() -> None:
    readings = batch(3)

    assert len(readings) == BATCH_READINGS
    assert [(reading.second, reading.sensor) for reading in readings] == [
        (second, sensor) for second in range(10) for sensor in range(len(SENSORS))
    ]


def test_the_next_wave_is_the_same_but_later(tmp_path: Path) -> None:
    first = [body_json(batch(device), base_s=BASE_S) for device in range(2)]
    write_spool(tmp_path / "spool", first)

    waves = Waves(Spool.load(tmp_path / "spool"), base_s=BASE_S, step_s=10, messages_max=100)

    assert len(waves) == 100
    assert bytes(waves.span(1, 2)) == first[1]
    third = body_json(batch(1), base_s=BASE_S + 20)
    assert bytes(waves.span(5, 6)) == third


def test_second_sendings_are_left_out() -> None:
    once, again = Reading(0, 1, 2.5, repeated=False), Reading(0, 1, 2.5, repeated=True)

    work = Workload(messages=[Message(4, [once, again])], base_s=BASE_S).without_repeated()

    assert list(work.messages) == [Message(4, [once])]
    assert work.base_s == BASE_S


def test_copy_gets_rows_or_the_entry_that_the_station_writes() -> None:
    rows = [(7, 3, 420_000_000 + at, at / 2, 0) for at in range(5)]

    assert batches(rows, 2, packed=False) == [rows[:2], rows[2:4], rows[4:]]
    packed = batches(rows, 3, packed=True)
    assert [len(batch) for batch in packed] == [1, 1]
    entry = packed[0][0][0]
    assert isinstance(entry, bytes)
    points = decode_points(entry)
    assert points.ts_us.tolist() == [row[2] for row in rows[:3]]
    assert points.value.tolist() == [0.0, 0.5, 1.0]


def test_a_part_of_the_year_is_scaled_and_called_so() -> None:
    assert whole_year_bytes(Space(1, 50), sensors=1, days=365) == 5_000
    assert whole_year_bytes(Space(1, 50), sensors=50, days=73) == 500
    assert whole_year_bytes(Space(1, 60, free=10), sensors=50, days=73) == 510
    assert origin(100, 365) == "measured"
    assert origin(1, 365) == "extrapolated from 1 of 100 sensors and 365 of 365 days"


def test_a_trend_that_leaves_readings_out_is_no_answer() -> None:
    days = [{"count": 86_400}, {"count": 86_400}]
    demand_whole({"items": days}, days=2)

    with pytest.raises(ProcessFailedError, match="172,800 readings in 2 days"):
        demand_whole({"items": days}, days=3)
    with pytest.raises(ProcessFailedError, match="172,799 readings in 2 days"):
        demand_whole({"items": [days[0], {"count": 86_399}]}, days=2)
