"""The live sockets of a real station: who may open one, what it shows, how it goes on."""

import threading
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from tests.clients import PASSWORD, StationClient, TestDevice, expect
from tests.live_client import LiveClient, live
from tests.station_process import StationProcess, running_station
from tests.wait_until import wait_until_blocking

READING = {"sensor_type": "t", "value": 1}
DELAY_S_MAX = 0.1


def ticket(client: StationClient) -> str:
    return expect(client.http.post("/api/v1/auth/ws-ticket"), 200)["ticket"]


def session_cookie(client: StationClient) -> str:
    form = {"email": client.email, "password": PASSWORD}
    answer = client.http.post(
        "/api/v1/auth/login", json=form, params={"cookie": "true"}, headers={"Origin": client.url}
    )
    expect(answer, 200)
    cookie = answer.cookies.get("session")
    client.http.cookies.clear()
    assert cookie is not None
    return cookie


def shows_readings(socket: LiveClient, client: StationClient, device: TestDevice) -> bool:
    assert socket.ping()["type"] == "pong"
    client.send(device, READING)
    return socket.readings(1)[0]["device_id"] == device.id


def test_a_ticket_opens_one_socket(station: StationProcess, client: StationClient) -> None:
    device, mine = client.register_device(), ticket(client)
    with live(station.url, query=[("ticket", mine)]) as socket:
        assert shows_readings(socket, client, device)
    with live(station.url, query=[("ticket", mine)]) as socket:
        assert socket.wait_until_closed()[0] == 1008


def test_a_header_a_subprotocol_and_a_query_open_a_socket(
    station: StationProcess, client: StationClient
) -> None:
    device = client.register_device()
    with live(station.url, token=client.token) as socket:
        assert shows_readings(socket, client, device)
    with live(station.url, query=[("token", client.token)]) as socket:
        assert shows_readings(socket, client, device)
    with live(station.url, subprotocols=["bearer", client.token]) as socket:
        assert shows_readings(socket, client, device)
        assert socket.socket.subprotocol == "bearer"
    with live(station.url, token=client.issue_user_key("telemetry:read")) as socket:
        assert shows_readings(socket, client, device)


def test_a_session_cookie_opens_a_socket(station: StationProcess, client: StationClient) -> None:
    device = client.register_device()
    headers = {"Cookie": f"session={session_cookie(client)}"}
    with live(station.url, headers=headers, origin=station.url) as socket:
        assert shows_readings(socket, client, device)


@pytest.mark.parametrize("path", ["/ws", "/ws/live-data"])
@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ([], {}),
        ([("ticket", "x")], {}),
        ([("token", "x")], {}),
        ([], {"Authorization": "Bearer fsu_" + "x" * 43}),
        ([], {"Authorization": "Basic eDp5"}),
        ([], {"Cookie": "session=x"}),
    ],
)
def test_nobody_is_accepted_and_closed_with_1008(
    station: StationProcess, path: str, query: list[tuple[str, str]], headers: dict[str, str]
) -> None:
    with live(station.url, path=path, query=query, headers=headers) as socket:
        code, reason = socket.wait_until_closed()
    assert code == 1008
    assert reason


def test_a_missing_scope_is_closed_with_1008(
    station: StationProcess, client: StationClient
) -> None:
    with live(station.url, token=client.issue_user_key("devices:read")) as socket:
        code, reason = socket.wait_until_closed()
    assert code == 1008
    assert reason.startswith("This needs the scope telemetry:read")
    with live(station.url, token=client.register_device().api_key) as socket:
        assert socket.wait_until_closed()[0] == 1008


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
def test_a_foreign_origin_is_403(
    station: StationProcess, client: StationClient, origin: str
) -> None:
    with (
        pytest.raises(InvalidStatus) as refused,
        live(station.url, token=client.token, origin=origin),
    ):
        pass
    assert refused.value.response.status_code == 403


def test_the_station_s_own_and_a_configured_origin_are_welcome(tmp_path: Path) -> None:
    environment = {"CORS_ORIGINS": "https://console.example"}
    with (
        running_station(tmp_path / "data", environment=environment) as station,
        StationClient(station.url) as client,
    ):
        client.sign_up()
        for origin in (station.url, "https://console.example"):
            with live(station.url, token=client.token, origin=origin) as socket:
                assert socket.ping()["type"] == "pong"


def test_the_sixth_socket_of_a_user_is_closed_and_another_user_s_is_not(
    station: StationProcess, client: StationClient, stranger: StationClient
) -> None:
    with ExitStack() as stack:
        for _ in range(5):
            socket = stack.enter_context(live(station.url, token=client.token))
            assert socket.ping()["type"] == "pong"
        with live(station.url, token=client.token) as sixth:
            assert sixth.wait_until_closed() == (1008, "too many sockets")
        with live(station.url, token=stranger.token) as theirs:
            assert theirs.ping()["type"] == "pong"
    wait_until_blocking(lambda: can_open(station, client))


def can_open(station: StationProcess, client: StationClient) -> bool:
    with live(station.url, token=client.token) as socket:
        socket.socket.send('{"type": "ping"}')
        try:
            return socket.receive()["type"] == "pong"
        except OSError:
            return False


def test_a_socket_ends_when_its_key_does(station: StationProcess, client: StationClient) -> None:
    soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    form = {"name": "short", "scopes": ["telemetry:read"], "expires_at": soon}
    key = expect(client.http.post("/api/v1/auth/api-keys", json=form), 201)["api_key"]
    with live(station.url, token=key) as socket:
        assert socket.ping()["type"] == "pong"
        opened_at = monotonic()
        assert socket.wait_until_closed() == (1008, "token expired")
        assert monotonic() - opened_at < 2


def test_logging_out_ends_the_session_s_sockets(
    station: StationProcess, client: StationClient
) -> None:
    with live(station.url, token=client.token) as socket:
        assert socket.ping()["type"] == "pong"
        assert client.http.post("/api/v1/auth/logout", json={}).status_code < 300
        assert socket.wait_until_closed(timeout_s=2) == (1008, "credential revoked")


def test_a_reading_is_shown_within_a_tenth_of_a_second(
    station: StationProcess, client: StationClient
) -> None:
    device, delays = client.register_device(), list[float]()
    with live(station.url, token=client.token) as socket:
        socket.ping()
        for n in range(20):
            sent_at = monotonic()
            client.send(device, {"sensor_type": "t", "value": n})
            assert socket.readings(1)[0]["value"] == n
            delays.append(monotonic() - sent_at)
    assert sorted(delays)[10] <= DELAY_S_MAX, delays


def test_a_frame_holds_the_reading_as_it_is_stored(
    station: StationProcess, client: StationClient
) -> None:
    device = client.register_device()
    with live(station.url, token=client.token) as socket:
        socket.ping()
        client.send(
            device, {"sensor_type": "T", "value": "open", "unit": "V", "metadata": {"a": [1]}}
        )
        frame = socket.receive()
    assert set(frame) == {"type", "data", "timestamp", "cursor"}
    assert frame["type"] == "sensor_data"
    assert [frame["data"]] == client.get(device.readings_path)["items"]


def test_filters_narrow_what_is_shown(station: StationProcess, client: StationClient) -> None:
    one, two = client.register_device(), client.register_device()
    query = [("device_id", one.id), ("sensor_type", "A"), ("sensor_type", "b")]
    with live(station.url, token=client.token, path="/ws/live-data", query=query) as socket:
        socket.ping()
        for n, (device, name) in enumerate(
            [(one, "a"), (two, "a"), (one, "c"), (one, "B"), (two, "b")]
        ):
            client.send(device, {"sensor_type": name, "value": n})
        assert [reading["value"] for reading in socket.readings(2)] == [0, 3]
        assert socket.ping()["type"] == "pong"


def test_nothing_of_another_organization_is_shown(
    station: StationProcess, client: StationClient, stranger: StationClient
) -> None:
    mine, theirs = client.register_device(), stranger.register_device()
    query = [("device_id", mine.id)]
    with (
        live(station.url, token=stranger.token) as socket,
        live(station.url, token=stranger.token, path="/ws/live-data", query=query) as nosy,
    ):
        before = socket.ping()["cursor"]
        nosy.ping()
        client.send(mine, READING)
        stranger.send(theirs, READING)
        assert socket.readings(1)[0]["device_id"] == theirs.id
        assert socket.ping()["type"] == nosy.ping()["type"] == "pong"
    with live(station.url, token=stranger.token, query=[("since", before)]) as again:
        assert again.readings(1)[0]["device_id"] == theirs.id
        assert again.ping()["type"] == "pong"


def test_every_frame_carries_a_cursor_and_nonsense_ends_the_socket(
    station: StationProcess, client: StationClient
) -> None:
    with live(station.url, token=client.token) as socket:
        assert set(socket.ping()) == {"type", "cursor"}
        socket.socket.send('{"type": "dance"}')
        assert set(socket.receive()) == {"type", "message", "cursor"}
        socket.socket.send("no json")
        assert socket.wait_until_closed() == (1008, "unknown message")
    with live(station.url, token=client.token) as socket:
        socket.socket.send(b"\x00\x01")
        assert socket.wait_until_closed()[0] in {1003, 1008}


@pytest.mark.parametrize("since", ["x", "a.b.c", "%00", "n.1.1.1"])
def test_a_foreign_cursor_is_closed_with_1008(
    station: StationProcess, client: StationClient, since: str
) -> None:
    with live(station.url, token=client.token, query=[("since", since)]) as socket:
        code, reason = socket.wait_until_closed()
    assert (code, reason[:6]) == (1008, "since:")


def test_resuming_under_load_loses_and_repeats_nothing(
    station: StationProcess, client: StationClient
) -> None:
    """A client that breaks off again and again sees every reading exactly once, in order."""
    device, count = client.register_device(), 600
    random = Random(5)  # noqa: S311 - lengths, not secrets
    with live(station.url, token=client.token) as socket:
        cursor = socket.ping()["cursor"]

    def send_all() -> None:
        with StationClient(station.url) as sender:
            for first in range(0, count, 3):
                sender.send(device, [{"sensor_type": "t", "value": first + n} for n in range(3)])

    sending = threading.Thread(target=send_all)
    sending.start()
    seen: list[int] = []
    while len(seen) < count:
        with live(station.url, token=client.token, query=[("since", cursor)]) as socket:
            for _ in range(min(random.randint(1, 60), count - len(seen))):
                frame = socket.receive()
                assert frame["type"] == "sensor_data", frame
                seen.append(frame["data"]["value"])
                cursor = frame["cursor"]
    sending.join()
    assert seen == list(range(count))


def test_a_cursor_is_good_after_a_kill(own_station: StationProcess) -> None:
    with StationClient(own_station.url) as client:
        device = client.sign_up().register_device()
        with live(own_station.url, token=client.token) as socket:
            cursor = socket.ping()["cursor"]
        client.send(device, [{"sensor_type": "t", "value": n} for n in range(3)])
        own_station.kill()
        own_station.start()
        client.send(device, {"sensor_type": "t", "value": 3})
        with live(own_station.url, token=client.token, query=[("since", cursor)]) as socket:
            assert [reading["value"] for reading in socket.readings(4)] == [0, 1, 2, 3]


def test_a_slow_client_is_told_of_its_gap_while_others_are_served(tmp_path: Path) -> None:
    environment = {"WS_QUEUE_FRAMES_MAX": "20", "WS_SLOW_TIMEOUT_S": "30"}
    with (
        running_station(tmp_path / "data", environment=environment) as station,
        StationClient(station.url) as client,
    ):
        device = client.sign_up().register_device()
        with (
            live(station.url, token=client.token, receive_buffer_bytes=65_536) as slow,
            live(station.url, token=client.token) as fast,
        ):
            slow.ping()
            fast.ping()
            sent = 0
            long = {"sensor_type": "t", "value": "x" * 1_000, "metadata": {"m": "y" * 3_000}}
            stop = threading.Event()
            received: list[Any] = []

            def read_all() -> None:
                while not stop.is_set():
                    try:
                        received.append(fast.receive(timeout_s=0.2))
                    except TimeoutError:
                        continue

            reading = threading.Thread(target=read_all)
            reading.start()
            # Far more than the sockets' buffers hold, and the slow one reads nothing of it.
            for _ in range(50):
                client.send(device, [long] * 100)
                sent += 100
            wait_until_blocking(lambda: counted(received) == sent, timeout_s=20)
            stop.set()
            reading.join()
            frames = []
            while not any(frame["type"] == "gap" for frame in frames):
                frames.append(slow.receive())
            assert frames[-1]["dropped"] > 0
            assert frames[-1]["cursor"]
            client.send(device, {"sensor_type": "after", "value": 1})
            while frames[-1]["type"] == "gap" or frames[-1]["data"]["sensor_type"] != "after":
                frames.append(slow.receive())


def counted(frames: list[dict[str, Any]]) -> int:
    """Count readings that were shown or said to be dropped."""
    return sum(frame["dropped"] if frame["type"] == "gap" else 1 for frame in frames)


def test_stopping_closes_sockets_with_a_reason(own_station: StationProcess) -> None:
    with StationClient(own_station.url) as client:
        client.sign_up()
        with live(own_station.url, token=client.token) as socket:
            socket.ping()
            stopping = threading.Thread(target=own_station.stop)
            stopping.start()
            assert socket.wait_until_closed() == (1012, "station restarts")
            stopping.join()
    assert own_station.process.returncode == 0


def test_an_unknown_socket_is_refused(station: StationProcess, client: StationClient) -> None:
    with pytest.raises(InvalidStatus), live(station.url, token=client.token, path="/ws/nothing"):
        pass


def test_many_readings_come_in_one_message_with_batch_ms(
    station: StationProcess, client: StationClient
) -> None:
    device = client.register_device()
    query = [("batch_ms", "200"), ("sensor_type", "t")]
    with live(station.url, token=client.token, path="/ws/live-data", query=query) as socket:
        cursor = socket.ping()["cursor"]
        client.send(device, [{"sensor_type": "t", "value": n} for n in range(5)])
        client.send(device, {"sensor_type": "other", "value": 9})
        batch = socket.receive()
    assert batch["type"] == "sensor_data_batch"
    assert [reading["value"] for reading in batch["data"]] == [0, 1, 2, 3, 4]
    again = [*query, ("since", cursor)]
    with live(station.url, token=client.token, path="/ws/live-data", query=again) as socket:
        replayed = socket.receive()
    assert (replayed["type"], replayed["data"]) == ("sensor_data_batch", batch["data"])


@pytest.mark.parametrize("wrong", ["", "-1", "x", "10001", "1.5", "²"])
def test_an_odd_batch_ms_is_refused(
    station: StationProcess, client: StationClient, wrong: str
) -> None:
    with live(
        station.url, token=client.token, path="/ws/live-data", query=[("batch_ms", wrong)]
    ) as socket:
        code, reason = socket.wait_until_closed()
    assert code == 1008
    assert "batch_ms" in reason
