"""The load generators count what a server really answered."""

import threading
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bench.encoding import get_request
from bench.http_load import HttpLoad, is_complete
from bench.mqtt_load import count_acknowledgements
from bench.spool import Spool, write_spool


class Answers(BaseHTTPRequestHandler):
    """Answers ``/ok`` with 200, closes the connection on ``/cut``, and anything else with 503."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/cut":
            self.close_connection = True
            return
        self.send_response(200 if self.path == "/ok" else 503)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, format: str, *_arguments: object) -> None:  # noqa: A002 - its name there
        """Say nothing."""


@contextmanager
def answering_server() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, name="answers")
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def make_load(tmp_path: Path) -> Iterator[Callable[[list[str]], HttpLoad]]:
    with answering_server() as port:
        loads: list[HttpLoad] = []

        def make(paths: list[str]) -> HttpLoad:
            spool = tmp_path / "requests.spool"
            write_spool(spool, [get_request(path) for path in paths])
            load = HttpLoad(Spool.load(spool), port=port, connections=2)
            loads.append(load)
            return load

        yield make
        for load in loads:
            load.close()


def test_closed_loop_sends_every_message_once_and_counts_by_status(
    make_load: Callable[[list[str]], HttpLoad],
) -> None:
    load = make_load(["/ok"] * 7 + ["/refused"] * 3)

    load.run(0, 10, duration_s=10, rate_per_s=None)

    assert load.statuses == {200: 7, 503: 3}
    assert len(load.latencies) == 10
    assert load.refusal is not None
    assert "503" in load.refusal


def test_open_loop_takes_as_long_as_its_rate_says(
    make_load: Callable[[list[str]], HttpLoad],
) -> None:
    load = make_load(["/ok"])

    elapsed_s = load.run(0, 21, duration_s=10, rate_per_s=100)

    assert load.statuses == {200: 21}
    assert elapsed_s >= 0.2


def test_a_cut_connection_is_counted_as_lost_not_as_answered(
    make_load: Callable[[list[str]], HttpLoad],
) -> None:
    load = make_load(["/ok", "/cut", "/ok", "/cut", "/ok"])

    load.run(0, 5, duration_s=10, rate_per_s=None)

    assert load.lost == 2
    assert load.statuses[200] <= 3


def test_an_answer_is_complete_with_its_last_byte() -> None:
    answer = b"HTTP/1.1 201 Created\r\nContent-Length: 4\r\nx: y\r\n\r\n1234"

    assert is_complete(answer)
    assert not is_complete(answer[:-1])
    assert not is_complete(answer[:20])


def test_an_answer_without_length_is_an_error_not_a_hang() -> None:
    with pytest.raises(ValueError, match="Content-Length"):
        is_complete(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")


@pytest.mark.parametrize("cut", range(13))
def test_acknowledgements_are_counted_across_any_cut(cut: int) -> None:
    stream = bytes([0x40, 2, 0, 1, 0x40, 2, 0, 2, 0x40, 2, 0x40, 0x40])
    first, spare = count_acknowledgements(stream[:cut], spare=0)
    second, spare = count_acknowledgements(stream[cut:], spare=spare)

    assert (first + second, spare) == (3, 0)


def test_anything_but_an_acknowledgement_is_an_error() -> None:
    with pytest.raises(ValueError, match="PUBACK"):
        count_acknowledgements(bytes([0x40, 2, 0, 1, 0xD0, 0]), spare=0)


def test_spool_returns_messages_alone_and_together(tmp_path: Path) -> None:
    path = tmp_path / "messages.spool"

    assert write_spool(path, [b"one", b"", b"three"]) == 3
    spool = Spool.load(path)

    assert len(spool) == 3
    assert spool.span(0, 1) == b"one"
    assert spool.span(1, 3) == b"three"
    assert spool.offsets == array("Q", [0, 3, 3, 8])
