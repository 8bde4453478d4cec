"""A power cut loses nothing acknowledged: a trace proves that each answer waits for the disk.

Each 201 and each PUBACK is written after an fdatasync of the telemetry log that began when the
message had arrived as a whole, and had ended. With that, and a disk that keeps what it says it
keeps, no cut can fall between an answer and its data.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients import StationClient
from tests.faults.oracle import Journal, Key
from tests.faults.senders import (
    HttpSender,
    MqttSender,
    Sender,
    acknowledged,
    run_senders,
)
from tests.faults.strace import Trace, read_trace, traced
from tests.services import missing_service
from tests.station_process import StationProcess
from tests.wait_until import wait_until

pytestmark = pytest.mark.anyio

ACKNOWLEDGEMENTS = 400
CREATED = b"HTTP/1.1 201 "
PUBACK_HEAD = b"@\x02"
CONNACK_BYTES = 4
PUBACK_BYTES = 4


def answers_of(content: bytes, *, http: bool) -> Iterator[int]:
    """Yield where each acknowledgement begins in what the station sent on one connection."""
    if http:
        at = content.find(CREATED)
        while at >= 0:
            yield at
            at = content.find(CREATED, at + 1)
    else:
        for at in range(CONNACK_BYTES, len(content), PUBACK_BYTES):
            assert content[at:].startswith(PUBACK_HEAD), content[at : at + PUBACK_BYTES]
            yield at


def unproven(trace: Trace, log: Path, sender: Sender, sent: list[Key]) -> tuple[int, list[Key]]:
    """Return how many of a sender's answers there are, and the last keys of the unproven ones."""
    mark = sent[0].sensor_id.encode()
    (connection,) = (c for c, s in trace.received.items() if mark in s.content())
    received, answered = trace.received[connection], trace.sent[connection]
    arrived, left = received.content(), answered.content()
    answers = list(answers_of(left, http=isinstance(sender, HttpSender)))
    last_keys = sent[sender.batch_readings - 1 :: sender.batch_readings]
    failures = []
    for key, answer in zip(last_keys, answers, strict=False):
        end = arrived.index(b"]", arrived.index(str(key.ts_us).encode()))
        begin = received.chunk_at(end).end
        if not trace.synced_between(log, begin, answered.chunk_at(answer).begin):
            failures.append(key)
    return len(answers), failures


async def test_each_answer_follows_a_sync_of_the_log_begun_after_its_message_arrived(
    tmp_path: Path,
) -> None:
    if shutil.which("strace") is None:
        missing_service("no strace")
    trace_file, data_dir = tmp_path / "trace", tmp_path / "data"
    station = StationProcess(data_dir, wrapper=traced(trace_file)).start()
    journal = Journal()
    try:
        with StationClient(station.url) as client:
            device = client.sign_up().register_device
            senders: list[Sender] = [
                *(HttpSender(station, device(), journal, batch_readings=n) for n in (1, 10)),
                *(MqttSender(station, device(), journal, batch_readings=n) for n in (1, 1, 5)),
            ]

        async def send() -> None:
            await wait_until(lambda: acknowledged(senders) >= ACKNOWLEDGEMENTS, timeout_s=30)
            for sender in senders:
                sender.finish()

        await run_senders(senders, send)
    finally:
        exit_code = station.stop()
    assert exit_code == 0, station.output()
    assert journal.acknowledged == journal.sent.keys()
    with trace_file.open(encoding="latin-1") as lines:
        trace = read_trace(lines)
    log = data_dir / "telemetry.db-wal"
    for sender in senders:
        sent = [key for key in journal.sent if key.sensor_id == sender.sensor_id]
        looked_at, failures = unproven(trace, log, sender, sent)
        assert looked_at == sender.acknowledgements > 0
        assert failures == []
        # The proof is not empty: of a file that nobody syncs it proves nothing.
        assert len(unproven(trace, data_dir / "other", sender, sent)[1]) == looked_at


TRACE = r"""
7 read(9<TCP:[127.0.0.1:80->127.0.0.1:50]>, "POST \"a\"\1\0012", 65536) = 11
8 fdatasync(5</data/telemetry.db-wal> <unfinished ...>
7 read(9<TCP:[127.0.0.1:80->127.0.0.1:50]>,  <unfinished ...>
8 <... fdatasync resumed>)          = 0
7 <... read resumed>"]", 65536)     = 1
8 fdatasync(5</data/telemetry.db-wal>) = 0
7 read(9<TCP:[127.0.0.1:80->127.0.0.1:50]>, 0x7f, 65536) = -1 EAGAIN (Try again)
7 writev(9<TCP:[127.0.0.1:80->127.0.0.1:50]>, [{iov_base="@\2"}, {iov_base="\0\7"}], 2) = 3
"""


def test_calls_of_several_threads_are_put_together() -> None:
    trace = read_trace(TRACE.strip().splitlines())
    received, sent = trace.received[80, 50], trace.sent[80, 50]
    assert received.content() == b'POST "a"\x01\x012]'
    assert (received.chunk_at(11).begin, received.chunk_at(11).end) == (2, 4)
    assert sent.content() == b"@\x02\x00"
    log = Path("/data/telemetry.db-wal")
    assert [(sync.begin, sync.end) for sync in trace.syncs[str(log)]] == [(1, 3), (5, 5)]


def test_a_sync_that_began_before_the_arrival_or_ended_after_the_answer_proves_nothing() -> None:
    trace = read_trace(TRACE.strip().splitlines())
    log = Path("/data/telemetry.db-wal")
    assert trace.synced_between(log, 0, 4)
    assert not trace.synced_between(log, 1, 5)
    assert not trace.synced_between(log, 2, 4)
    assert trace.synced_between(log, 4, 7)
