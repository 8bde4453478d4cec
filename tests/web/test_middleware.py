"""What every answer carries, and what is refused before a route is asked."""

import re
from collections.abc import Iterator
from uuid import UUID

import httpx2
import pytest

from tests.clients import StationClient
from tests.station_process import StationProcess, running_station
from tests.wait_until import wait_until_blocking

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("offered", ["abc", "A-b_c.9", "x" * 128])
def test_a_harmless_correlation_id_is_echoed(client: StationClient, offered: str) -> None:
    answer = client.http.get("/api/v1/nothing", headers={"X-Correlation-ID": offered})
    assert answer.headers["x-correlation-id"] == offered
    assert answer.json()["correlation_id"] == offered


@pytest.mark.parametrize("offered", ["a b", "x" * 129, "", "a\u00fc", "{}", "a;b", "../x"])
def test_any_other_correlation_id_is_replaced(client: StationClient, offered: str) -> None:
    answer = client.http.get("/health", headers={b"X-Correlation-ID": offered.encode()})
    UUID(answer.headers["x-correlation-id"])


def test_the_request_id_is_always_new(client: StationClient) -> None:
    headers = {"X-Correlation-ID": "same", "X-Request-ID": "mine"}
    found = {client.http.get("/health", headers=headers).headers["x-request-id"] for _ in range(5)}
    assert len(found) == 5
    assert "mine" not in found


@pytest.mark.parametrize("path", ["/health", "/api/v1/nothing", "/metrics"])
def test_every_answer_says_how_long_it_took(client: StationClient, path: str) -> None:
    text = client.http.get(path).headers["x-process-time"]
    assert re.fullmatch(r"\d+\.\d\dms", text)


def test_a_refused_body_has_ids_and_a_time_as_well(client: StationClient) -> None:
    answer = client.http.post("/api/v1/devices", content=b" " * (11 << 20))
    assert answer.status_code == 413
    assert {"x-correlation-id", "x-request-id", "x-process-time"} <= answer.headers.keys()


def test_the_server_does_not_say_what_it_is_made_of(client: StationClient) -> None:
    assert "server" not in client.http.get("/health").headers


@pytest.fixture(scope="module")
def talkative(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StationProcess]:
    """A station that logs every request as JSON and finds all of them slow."""
    environment = {"LOG_LEVEL": "DEBUG", "LOG_FORMAT": "json", "LOG_SLOW_REQUEST_MS": "0.001"}
    with running_station(tmp_path_factory.mktemp("log") / "data", environment=environment) as found:
        yield found


def test_a_slow_request_is_a_warning_with_its_correlation_id(talkative: StationProcess) -> None:
    httpx2.get(f"{talkative.url}/health", headers={"X-Correlation-ID": "find-me-1"})
    wait_until_blocking(lambda: "find-me-1" in talkative.output())
    (line,) = [line for line in talkative.lines if "find-me-1" in line]
    assert '"level":"warning"' in line.replace(" ", "")
    assert '"event":"request"' in line.replace(" ", "")
    assert '"elapsed_ms"' in line


def test_a_path_cannot_forge_a_log_line(talkative: StationProcess) -> None:
    httpx2.get(f"{talkative.url}/x%0D%0A%1b[31mforged", headers={"X-Correlation-ID": "find-me-2"})
    wait_until_blocking(lambda: "find-me-2" in talkative.output())
    assert not any(line.startswith("\x1b[31mforged") for line in talkative.lines)
    assert "\x1b" not in talkative.output()


def test_no_token_of_a_query_is_logged(talkative: StationProcess) -> None:
    httpx2.get(
        f"{talkative.url}/health?token=hunter2-token", headers={"X-Correlation-ID": "find-me-3"}
    )
    wait_until_blocking(lambda: "find-me-3" in talkative.output())
    assert "hunter2-token" not in talkative.output()
