"""``fieldstation backup`` beside real stations: made under load, verified, put back."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from fieldstation.adapters.sqlite_backup.restoration import NOTICE
from tests.adapters.sqlite_backup.stations import StationFiles, make_station
from tests.cli.commands import run_command
from tests.clients import StationClient, TestDevice
from tests.station_process import StationProcess
from tests.stored_readings import readings_in_sqlite
from tests.wait_until import wait_until_blocking

BATCH_READINGS = 100


class Sender:
    """Sends one batch after the other; a batch's number is the value of its readings."""

    def __init__(self, url: str, device: TestDevice) -> None:
        self.acknowledged = 0
        self._url = url
        self._device = device
        self._running = True

    @contextmanager
    def sending(self) -> Iterator[None]:
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield
        finally:
            self._running = False
            thread.join()

    def _run(self) -> None:
        with StationClient(self._url) as client:
            for number in count(1):
                if not self._running:
                    return
                reading = {"sensor_type": "temperature", "value": number}
                client.send(self._device, [reading] * BATCH_READINGS)
                self.acknowledged = number


def only_backup(output: Path) -> Path:
    (backup,) = output.iterdir()
    return backup


@pytest.fixture
def stopped(tmp_path: Path) -> StationFiles:
    return make_station(tmp_path / "data", "mark")


def test_backup_of_a_station_under_load_comes_back_with_everything_acknowledged(
    own_station: StationProcess, tmp_path: Path
) -> None:
    data_dir, output = own_station.data_dir, tmp_path / "backups"
    with StationClient(own_station.url) as client:
        device = client.sign_up().register_device()
        sender = Sender(own_station.url, device)
        with sender.sending():
            wait_until_blocking(lambda: sender.acknowledged >= 20)
            before = sender.acknowledged
            made = run_command("backup", "create", "--output", output, data_dir=data_dir)
            wait_until_blocking(lambda: sender.acknowledged > before)
    assert made.returncode == 0, made.stderr

    backup = only_backup(output)
    held = Counter(reading.value for reading in readings_in_sqlite(backup / "telemetry.db"))
    assert all(held.get(number) == BATCH_READINGS for number in range(1, before + 1))
    verified = run_command("backup", "verify", backup, data_dir=data_dir)
    assert verified.returncode == 0, verified.stderr
    assert (
        str(backup) in run_command("backup", "list", "--output", output, data_dir=data_dir).stdout
    )

    running = run_command("backup", "restore", backup, "--force", data_dir=data_dir)
    assert running.returncode == 1
    assert "Another station already uses" in running.stderr
    own_station.stop()
    unforced = run_command("backup", "restore", backup, data_dir=data_dir)
    assert unforced.returncode == 1
    assert "With --force its files are moved aside" in unforced.stderr
    restored = run_command("backup", "restore", backup, "--force", data_dir=data_dir)
    assert restored.returncode == 0, restored.stderr
    assert "replaced-" in restored.stdout

    own_station.start()
    with StationClient(own_station.url) as again:
        again.email = client.email
        again.log_in()
        page = again.get(f"/api/v1/devices/{device.id}/readings", limit=1)
        again.send(device, [{"sensor_type": "temperature", "value": -1}])
    assert page["items"][0]["value"] == max(held)


def test_backup_of_a_stopped_station_needs_no_running_one(stopped: StationFiles) -> None:
    made = run_command("backup", "create", data_dir=stopped.directory)

    assert made.returncode == 0, made.stderr
    backup = only_backup(stopped.directory / "backups")
    assert StationFiles(backup).mark() == ("mark", "mark")
    assert str(backup) in made.stdout


def test_backup_without_a_station_makes_nothing(tmp_path: Path) -> None:
    done = run_command("backup", "create", data_dir=tmp_path / "none")

    assert done.returncode == 1
    assert done.stderr.startswith("fieldstation: ")
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [(("create",), "use pg_dump"), (("restore", "somewhere"), "use pg_restore")],
)
def test_station_on_postgresql_is_referred_to_its_own_tools(
    arguments: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    done = run_command(
        *("backup", *arguments),
        data_dir=tmp_path / "data",
        DATABASE_URL="postgresql://station@127.0.0.1/station",
    )

    assert done.returncode == 1
    assert sentence in done.stderr


def test_every_fault_is_one_sentence_and_nothing_is_restored(
    stopped: StationFiles, tmp_path: Path
) -> None:
    backup = stopped.back_up(tmp_path / "backups")
    (backup / "telemetry.db").unlink()
    (backup / "station.db").write_bytes(b"no database")

    verified = run_command("backup", "verify", backup, data_dir=stopped.directory)
    restored = run_command("backup", "restore", backup, "--force", data_dir=stopped.directory)

    assert (verified.returncode, restored.returncode) == (1, 1)
    faults = verified.stderr.splitlines()
    assert [fault.split()[0] for fault in faults] == ["station.db", "station.db", "telemetry.db"]
    assert restored.stderr == verified.stderr
    assert stopped.mark() == ("mark", "mark")


def test_list_shows_damaged_and_unfinished_backups(stopped: StationFiles) -> None:
    output = stopped.directory / "backups"
    none = run_command("backup", "list", data_dir=stopped.directory)
    stopped.back_up(output)
    (output / "fieldstation-20250101T000000Z").mkdir()
    (output / ".fieldstation-20250101T000001Z-abc.partial").mkdir()

    some = run_command("backup", "list", data_dir=stopped.directory)

    assert none.stdout.startswith("No backups in")
    lines = some.stdout.splitlines()
    assert "2026-11-21 12:00:00 UTC" in lines[0]
    assert lines[1].startswith("DAMAGED")
    assert lines[2].startswith("Unfinished")


def test_restore_into_a_new_directory_says_what_to_do_next(
    stopped: StationFiles, tmp_path: Path
) -> None:
    backup = stopped.back_up(tmp_path / "backups")
    other = StationFiles(tmp_path / "other")

    done = run_command("backup", "restore", backup, data_dir=other.directory, NODE_ID="node-a")

    assert done.returncode == 0, done.stderr
    assert other.mark() == ("mark", "mark")
    assert other.directory.stat().st_mode & 0o777 == 0o700
    assert "fieldstation serve" in done.stdout
    assert "another NODE_ID" in done.stdout


def test_station_does_not_start_in_the_middle_of_a_restore(stopped: StationFiles) -> None:
    stopped.station_db.write_bytes(NOTICE)
    station = StationProcess(stopped.directory)

    station.start(wait=False)

    assert station.process.wait(30) != 0
    assert stopped.station_db.read_bytes() == NOTICE
