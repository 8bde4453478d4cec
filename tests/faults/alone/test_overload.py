"""Far more than a station can take: it goes on taking what it can, and its memory stays flat.

A few clients show, before and after, what it takes when nothing is in its way. OVERLOAD_S makes the
overload in between as long as the proof asks for, 600 s.
"""

import os
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import fmean

import httpx2
import pytest

from bench.processes import children_pinned_to, server_core
from tests.faults.connections import memory_bytes
from tests.faults.crowds import HttpCrowd, MqttCrowd
from tests.station_process import StationProcess

OVERLOAD_S = float(os.environ.get("OVERLOAD_S", "8"))
CALM_S = min(OVERLOAD_S / 2, 30.0)
GOODPUT_SHARE_MIN = 0.9
SAMPLE_INTERVAL_S = 0.25
GROWTH_BYTES_MAX = 32 << 20
"""Of the highest memory in the second half over that in the first: readings wait in memory until
there are half a million, so it rises and falls all the time."""
STORED = "SELECT (SELECT total(count) FROM chunk) + (SELECT total(count) FROM sealed)"


@pytest.fixture
def station(tmp_path: Path) -> Iterator[StationProcess]:
    """A station on one core, so that who loads it has another where the machine has two."""
    station = StationProcess(tmp_path / "data", forked=False)
    with children_pinned_to(server_core()):
        station.start()
    yield station
    if station.process.poll() is None:
        station.stop()


@contextmanager
def watched(station: StationProcess) -> Iterator[list[int]]:
    """Gather the station's memory, and demand meanwhile that it says that it is alive."""
    samples: list[int] = []
    over = threading.Event()
    waited_s = [0.0]

    def look() -> None:
        with httpx2.Client(base_url=station.url, timeout=60) as http:
            while not over.wait(SAMPLE_INTERVAL_S):
                samples.append(memory_bytes(station))
                asked_at = time.monotonic()
                assert http.get("/health/live").status_code == 200
                waited_s.append(time.monotonic() - asked_at)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield samples
    finally:
        over.set()
        looking.join()
        sys.stdout.write(f"waited at most {max(waited_s):.2f} s for a sign of life\n")


@pytest.mark.parametrize("kind", [HttpCrowd, MqttCrowd])
def test_a_crowd_gets_as_much_stored_as_a_few_and_takes_no_more_memory(
    station: StationProcess, tmp_path: Path, kind: type[HttpCrowd] | type[MqttCrowd]
) -> None:
    crowd = kind(station, tmp_path)
    loads = [crowd.warm_up(), crowd.send(crowd.many, CALM_S)]
    loads.append(before := crowd.send(crowd.few, CALM_S))
    with watched(station) as memory:
        loads.append(overload := crowd.send(crowd.many, OVERLOAD_S))
    loads.append(after := crowd.send(crowd.few, CALM_S))
    assert station.stop() == 0

    share = overload.per_s / fmean([before.per_s, after.per_s])
    middle = len(memory) // 2
    growth = max(memory[middle:]) - max(memory[:middle])
    sys.stdout.write(f"{before=} {overload=} {after=} {share=:.3f} {growth >> 20} MiB more\n")
    sys.stdout.write(f"MiB: {[size >> 20 for size in memory]}\n")
    with closing(sqlite3.connect(station.data_dir / "telemetry.db")) as connection:
        ((stored,),) = connection.execute(STORED).fetchall()
    acknowledged = sum(load.acknowledged for load in loads)
    assert acknowledged <= stored <= acknowledged + sum(load.unanswered_max for load in loads)
    assert overload.refused > 0 or kind is MqttCrowd
    assert share >= GOODPUT_SHARE_MIN
    assert growth < GROWTH_BYTES_MAX
