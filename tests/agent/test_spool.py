"""What is in the spool stays until it is removed, through kills, corruption and a full disk."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fieldstation.agent.readings import Reading, readings_message
from fieldstation.agent.spool import Spool
from fieldstation.core.errors import Busy, Conflict
from tests.wait_until import wait_until_blocking

OpenSpool = Callable[..., Spool]


def reading(number: int) -> Reading:
    return Reading("cpu_usage", float(number), "%", "cpu", f"2026-01-01T00:00:00.{number:06}Z")


def sample(number: int, *, readings: int = 1) -> list[Reading]:
    return [reading(number)] * readings


def values(spool: Spool, readings_max: int = 1_000_000, *, after_id: int = 0) -> list[int]:
    """Return the first value of each sample that waits."""
    batch = spool.oldest(readings_max, after_id=after_id)
    bodies = [json.loads(readings_message([item.body]))["readings"] for item in batch]
    return [int(body[0]["value"]) for body in bodies]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "made" / "spool.db"


@pytest.fixture
def open_spool(path: Path) -> Iterator[OpenSpool]:
    opened: list[Spool] = []

    def open_one(readings_max: int = 1_000_000, bytes_max: int = 2**30) -> Spool:
        opened.append(Spool(path, readings_max=readings_max, bytes_max=bytes_max))
        return opened[-1]

    yield open_one
    for spool in opened:
        spool.close()


def test_message_is_what_the_station_takes(open_spool: OpenSpool) -> None:
    spool = open_spool()
    spool.append([reading(1), reading(2)])
    spool.append([reading(3)])
    message = json.loads(readings_message([item.body for item in spool.oldest(10)]))
    assert message == {"readings": [reading(number)._asdict() for number in (1, 2, 3)]}


def test_batch_holds_whole_samples_up_to_its_limit_and_at_least_one(open_spool: OpenSpool) -> None:
    spool = open_spool()
    for number in range(4):
        spool.append(sample(number, readings=3))
    assert values(spool, 6) == [0, 1]
    assert values(spool, 8) == [0, 1]
    assert values(spool, 1) == [0]
    assert values(spool, 9, after_id=spool.oldest(1)[0].id) == [1, 2, 3]


def test_removed_samples_are_gone_after_a_restart(open_spool: OpenSpool) -> None:
    spool = open_spool()
    for number in range(3):
        spool.append(sample(number, readings=2))
    spool.remove([spool.oldest(1)[0].id, 12_345])
    assert spool.readings == 4
    spool.close()
    again = open_spool()
    assert (again.readings, values(again)) == (4, [1, 2])


def test_full_spool_drops_the_oldest_and_counts_their_readings(open_spool: OpenSpool) -> None:
    spool = open_spool(readings_max=6)
    for number in range(5):
        spool.append(sample(number, readings=2))
    assert (values(spool), spool.readings, spool.dropped) == ([2, 3, 4], 6, 4)
    spool.close()
    assert open_spool(readings_max=6).dropped == 4


def test_bytes_are_limited_too(open_spool: OpenSpool) -> None:
    size = 0
    spool = open_spool(bytes_max=1_000)
    for number in range(20):
        spool.append(sample(number))
        size = len(spool.oldest(1)[0].body)
    assert spool.readings == 1_000 // size
    assert spool.dropped == 20 - spool.readings


def test_sample_larger_than_the_spool_is_dropped_and_counted(open_spool: OpenSpool) -> None:
    spool = open_spool(readings_max=3)
    spool.append(sample(0))
    spool.append(sample(1, readings=4))
    assert (values(spool), spool.dropped) == ([], 5)


def test_second_owner_is_refused_with_what_to_do(open_spool: OpenSpool) -> None:
    open_spool()
    with pytest.raises(Conflict, match=r"Another agent uses the spool .* --data-dir"):
        open_spool()


def test_closed_spool_is_misuse_not_a_failing_disk(open_spool: OpenSpool) -> None:
    spool = open_spool()
    spool.close()
    with pytest.raises(sqlite3.ProgrammingError):
        spool.append(sample(1))


def test_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Busy, match="choose another --data-dir"):
        Spool(tmp_path / "file" / "spool.db", readings_max=1, bytes_max=1)


def test_path_that_is_a_directory_is_told(tmp_path: Path) -> None:
    with pytest.raises(Busy, match="unable to open database file"):
        Spool(tmp_path, readings_max=1, bytes_max=1)


@pytest.mark.parametrize("damage", [b"no database at all" * 100, None])
def test_unreadable_file_is_set_aside_and_a_new_one_begun(
    path: Path,
    open_spool: OpenSpool,
    caplog: pytest.LogCaptureFixture,
    damage: bytes | None,
) -> None:
    first = open_spool()
    for number in range(300):
        first.append(sample(number, readings=10))
    first.close()
    content = damage or path.read_bytes()[:5_000] + b"\xff" * 50_000
    path.write_bytes(content)
    spool = open_spool()
    assert values(spool) == []
    spool.append(sample(7))
    assert values(spool) == [7]
    assert path.with_suffix(".corrupt").read_bytes() == content
    assert "spool_set_aside" in caplog.text


def test_file_that_breaks_while_in_use_is_replaced(path: Path, open_spool: OpenSpool) -> None:
    first = open_spool()
    for number in range(40):
        first.append(sample(number, readings=2_000))
    first.close()
    spool = open_spool()
    last_id = spool.last_id
    # More than SQLite's page cache holds, so that it has to read what is broken here.
    with path.open("r+b") as file:
        file.seek(4_096)
        file.write(b"\xff" * (path.stat().st_size - 4_096))
    with pytest.raises(Busy, match="does not work"):
        spool.oldest(1_000_000)
    assert (spool.readings, values(spool)) == (0, [])
    spool.append(sample(41))
    assert spool.last_id > last_id, "a late acknowledgement must not remove a new sample"
    assert values(spool) == [41]


def test_spool_recovers_once_its_directory_is_back(path: Path, open_spool: OpenSpool) -> None:
    first = open_spool()
    for number in range(40):
        first.append(sample(number, readings=2_000))
    first.close()
    spool = open_spool()
    with path.open("r+b") as file:
        file.seek(4_096)
        file.write(b"\xff" * (path.stat().st_size - 4_096))
    aside = path.with_suffix(".corrupt")
    (aside / "in the way").mkdir(parents=True)
    with pytest.raises(Busy, match=r"Is a directory|not empty"):
        spool.oldest(1_000_000)
    (aside / "in the way").rmdir()
    aside.rmdir()
    spool.append(sample(5))
    assert values(spool) == [5]


def test_full_disk_refuses_the_sample_and_keeps_the_others(
    path: Path, open_spool: OpenSpool
) -> None:
    spool = open_spool()
    spool.append(sample(1))
    # The real error of a full disk, provoked through the limit that SQLite itself has.
    assert spool._db is not None  # noqa: SLF001
    [(pages,)] = spool._db.execute("PRAGMA page_count")  # noqa: SLF001
    spool._db.execute(f"PRAGMA max_page_count = {pages}")  # noqa: SLF001
    with pytest.raises(Busy, match="full"):
        spool.append(sample(2, readings=1_000))
    assert (values(spool), spool.readings) == ([1], 1)
    spool._db.execute("PRAGMA max_page_count = 100000")  # noqa: SLF001
    spool.append(sample(3))
    assert values(spool) == [1, 3]
    assert path.exists()


APPENDER = """
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from fieldstation.agent.readings import Reading
from fieldstation.agent.spool import Spool
spool = Spool(Path(sys.argv[1]), readings_max=1000000, bytes_max=2**30)
for number in range(int(sys.argv[2]), 1000000):
    spool.append([Reading("cpu_usage", float(number), "%", "cpu", "2026-01-01T00:00:00.000000Z")])
    print(number, flush=True)
"""


def test_what_was_appended_survives_kill_9(tmp_path: Path) -> None:
    path, journal = tmp_path / "spool.db", tmp_path / "journal"
    appended: list[int] = []
    for life in range(3):
        with journal.open("wb") as output:
            command = [sys.executable, "-c", APPENDER, str(path), str(life * 100_000)]
            process = subprocess.Popen(command, stdout=output)
        wait_until_blocking(lambda: journal.read_bytes().count(b"\n") > 30)
        process.kill()
        process.wait()
        appended += [int(line) for line in journal.read_text().split("\n")[:-1]]
    spool = Spool(path, readings_max=1_000_000, bytes_max=2**30)
    stored = values(spool)
    spool.close()
    assert set(appended) <= set(stored)
    assert len(stored) == len(set(stored)) <= len(appended) + 3
    with sqlite3.connect(path) as check:
        assert check.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    check.close()


class SpoolMachine(RuleBasedStateMachine):
    """The spool against a list; a reading's value numbers its sample."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = TemporaryDirectory()
        self.path = Path(self.directory.name) / "spool.db"
        self.model: list[tuple[int, int]] = []
        self.appended = 0
        self.dropped = 0
        self.open()

    def open(self) -> None:
        self.spool = Spool(self.path, readings_max=20, bytes_max=2**30)

    @rule(readings=st.integers(1, 25))
    def append(self, readings: int) -> None:
        self.appended += 1
        self.spool.append(sample(self.appended, readings=readings))
        self.model.append((self.appended, readings))
        while sum(count for _, count in self.model) > 20:
            self.dropped += self.model.pop(0)[1]

    @rule(picks=st.sets(st.integers(0, 9)))
    def remove(self, picks: set[int]) -> None:
        waiting = self.spool.oldest(1_000)
        self.spool.remove([waiting[pick].id for pick in picks if pick < len(waiting)])
        self.model = [item for place, item in enumerate(self.model) if place not in picks]

    @rule()
    def restart(self) -> None:
        self.spool.close()
        self.open()

    @invariant()
    def holds_what_the_list_holds(self) -> None:
        assert values(self.spool) == [number for number, _ in self.model]
        assert self.spool.readings == sum(count for _, count in self.model)
        assert self.spool.dropped == self.dropped

    def teardown(self) -> None:
        self.spool.close()
        self.directory.cleanup()


SpoolMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
TestSpoolMachine = SpoolMachine.TestCase
