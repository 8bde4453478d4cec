"""The live-socket load generator counts every frame once, however it arrives."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.encoding import get_request
from bench.live_load import LiveLoadSpec, client_frame, generate, split_frames, whole_texts
from bench.processes import accepts_connections, free_port
from bench.spool import write_spool
from tests.wait_until import wait_until_blocking

TEXT = b"x" * 417
FRAME = b"\x81\x7e" + len(TEXT).to_bytes(2) + TEXT


@pytest.fixture
def bare_loop() -> Iterator[int]:
    port = free_port()
    command = [sys.executable, "-m", "bench.fanout_peers", str(port), str(len(TEXT))]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    try:
        wait_until_blocking(lambda: accepts_connections(port))
        yield port
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.parametrize(("in_flight", "polls"), [(1, False), (4, True)])
def test_every_socket_gets_every_message(
    bare_loop: int, tmp_path: Path, in_flight: int, polls: bool
) -> None:
    spool = tmp_path / "triggers.spool"
    write_spool(spool, [get_request("/").replace(b"GET", b"POST", 1)] * 30)

    result = generate(
        LiveLoadSpec(
            port=bare_loop,
            path="/ws",
            sockets=7,
            spool=str(spool),
            messages=30,
            warm_up=10,
            in_flight=in_flight,
            polls=polls,
        )
    )

    assert (result.frames, result.missing) == (20 * 7, 0)


@pytest.mark.parametrize("cut", range(0, len(FRAME) * 2, 53))
def test_frames_are_split_at_any_cut_and_pings_told_apart(cut: int) -> None:
    stream = FRAME + b"\x89\x02hi" + FRAME
    first, pings, rest = split_frames(stream[:cut])
    second, more_pings, end = split_frames(rest + stream[cut:])

    assert first + second == [TEXT, TEXT]
    assert pings + more_pings == [b"hi"]
    assert end == b""


def test_whole_texts_are_counted_without_a_look_inside() -> None:
    for count in (1, 2, 5):
        assert whole_texts(memoryview(FRAME * count), len(FRAME) * count) == count
    for other in (FRAME[:-1], FRAME + FRAME[:9], FRAME + b"\x89\x02hi", b"\x81\x02hi", b""):
        assert whole_texts(memoryview(other + bytes(8)), len(other)) == 0


def test_client_frames_are_masked() -> None:
    assert client_frame(b"hi") == b"\x81\x82\0\0\0\0hi"
