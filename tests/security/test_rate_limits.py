"""Requests are counted for whom they belong to, and one too many is 429 with the time to return."""

import secrets
import socket
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer

import httpx2
import pytest

from tests.clients import PASSWORD, StationClient, TestDevice, expect
from tests.redis_process import running_redis
from tests.services import redis_url
from tests.station_process import StationProcess, running_station
from tests.wait_until import wait_until_blocking

LIMITED = {
    "RATE_LIMIT_FACTOR": "1",
    "RATE_LIMIT_DEFAULT": "30/hour",
    "RATE_LIMIT_USER": "40/hour",
    "RATE_LIMIT_DEVICE": "50/hour",
    "TRUSTED_PROXIES": "127.0.0.1",
}
LIMIT_HEADERS = {"x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"}


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StationProcess]:
    directory = tmp_path_factory.mktemp("limited") / "data"
    with running_station(directory, environment=LIMITED, measured=True) as station:
        yield station


def from_address(station: StationProcess, address: str) -> httpx2.Client:
    return httpx2.Client(base_url=station.url, headers={"X-Forwarded-For": address}, timeout=20)


def owner_at(station: StationProcess, address: str) -> StationClient:
    owner = StationClient(station.url)
    owner.http.headers["X-Forwarded-For"] = address
    return owner.sign_up()


def statuses(client: httpx2.Client, path: str, times: int) -> list[int]:
    return [client.get(path).status_code for _ in range(times)]


def test_an_address_has_its_own_limit_and_every_answer_says_what_is_left(
    limited: StationProcess,
) -> None:
    with from_address(limited, "203.0.113.1") as client:
        first = client.get("/")
        assert first.headers["x-ratelimit-limit"] == "30"
        assert first.headers["x-ratelimit-remaining"] == "29"
        left_s = int(first.headers["x-ratelimit-reset"]) - datetime.now(UTC).timestamp()
        assert 0 < left_s <= 3600
        assert statuses(client, "/", 29) == [200] * 29
        refused = client.get("/")
    assert refused.status_code == 429
    assert refused.headers.keys() >= LIMIT_HEADERS
    assert refused.headers["x-ratelimit-remaining"] == "0"
    body = refused.json()
    assert body["error"] == "rate_limited"
    assert body["retry_after"] == int(refused.headers["retry-after"]) > 0
    with from_address(limited, "203.0.113.2") as other:
        assert other.get("/").status_code == 200


def test_a_forged_address_of_another_hop_changes_nothing(limited: StationProcess) -> None:
    with from_address(limited, "203.0.113.3") as client:
        statuses(client, "/", 30)
        forged = {"X-Forwarded-For": "198.51.100.9, 203.0.113.3"}
        assert client.get("/", headers=forged).status_code == 429


def test_without_a_configured_proxy_forwarded_for_changes_nothing(tmp_path: Path) -> None:
    environment = {**LIMITED, "TRUSTED_PROXIES": "", "RATE_LIMIT_DEFAULT": "5/hour"}
    with running_station(tmp_path / "data", environment=environment) as station:
        found = []
        for number in range(7):
            with from_address(station, f"203.0.113.{number}") as client:
                found.append(client.get("/").status_code)
    assert found == [200] * 5 + [429] * 2


def test_an_ipv6_site_is_one_client(limited: StationProcess) -> None:
    found = []
    for number in range(31):
        with from_address(limited, f"2001:db8:1:2::{number:x}") as client:
            found.append(client.get("/").status_code)
    assert found == [200] * 30 + [429]
    with from_address(limited, "2001:db8:1:3::1") as client:
        assert client.get("/").status_code == 200


def test_a_user_is_counted_as_such_wherever_they_are(limited: StationProcess) -> None:
    with owner_at(limited, "203.0.113.10") as owner:
        found = statuses(owner.http, "/api/v1/devices", 40)
        owner.http.headers["X-Forwarded-For"] = "203.0.113.11"
        last = owner.http.get("/api/v1/devices")
    assert found == [200] * 40
    assert last.status_code == 429
    assert last.headers["x-ratelimit-limit"] == "40"


def test_a_device_is_counted_on_the_hot_route_as_well(limited: StationProcess) -> None:
    with owner_at(limited, "203.0.113.12") as owner:
        device, other = owner.register_device(), owner.register_device(name="other")
        found = [send(owner, device) for _ in range(51)]
        assert send(owner, other).status_code == 201
    assert [answer.status_code for answer in found] == [201] * 50 + [429]
    assert found[0].headers["x-ratelimit-limit"] == "50"
    assert found[50].json()["error"] == "rate_limited"


def send(owner: StationClient, device: TestDevice) -> httpx2.Response:
    body = {"sensor_type": "t", "value": 1}
    return owner.http.post(device.readings_path, json=body, headers=device.headers)


@pytest.mark.parametrize(
    ("method", "path", "limit"),
    [
        ("POST", "/api/v1/auth/register", 3),
        ("POST", "/api/v1/auth/login", 5),
        ("POST", "/api/v1/auth/token", 5),
        ("POST", "/api/v1/auth/refresh", 10),
        ("POST", "/api/v1/auth/logout", 20),
        ("GET", "/api/v1/auth/me", 60),
        ("GET", "/api/v1/users/me", 60),
        ("POST", "/api/v1/auth/password/change", 3),
        ("POST", "/api/v1/auth/ws-ticket", 60),
    ],
)
def test_routes_with_a_limit_of_their_own(
    limited: StationProcess, method: str, path: str, limit: int
) -> None:
    with from_address(limited, "203.0.113.20") as client:
        answer = client.request(method, path)
    assert answer.headers["x-ratelimit-limit"] == str(limit)


def test_an_alias_shares_the_counter(limited: StationProcess) -> None:
    with from_address(limited, "203.0.113.21") as client:
        paths = ["/v1/auth/login", "/api/v1/auth/login"] * 3
        found = [client.post(path, json={}).status_code for path in paths]
    assert found == [422] * 5 + [429]


@pytest.mark.parametrize(("path", "limit"), [("register", 3), ("login", 5), ("token", 5)])
def test_accounts_are_tried_and_made_for_an_address_whoever_it_is(
    limited: StationProcess, path: str, limit: int
) -> None:
    address = f"203.0.113.{40 + limit + len(path)}"
    with owner_at(limited, f"198.51.100.{100 + len(path)}") as owner:
        owner.http.headers["X-Forwarded-For"] = address
        tried = [owner.http.post(f"/api/v1/auth/{path}").status_code for _ in range(limit + 1)]
    assert tried == [422] * limit + [429]


def test_a_bad_token_nearby_takes_nothing_from_a_good_one(limited: StationProcess) -> None:
    address = "203.0.113.24"
    owner = owner_at(limited, "198.51.100.120")
    with owner, from_address(limited, address) as misconfigured:
        good = [owner.issue_user_key("devices:read") for _ in range(2)]
        bad = {"Authorization": "Bearer fsd_" + "x" * 43}
        found = [misconfigured.get("/api/v1/devices", headers=bad).status_code for _ in range(39)]
        assert found == [401] * 30 + [429] * 9
        for key, status in zip(good, (200, 429), strict=True):
            fresh = {"Authorization": f"Bearer {key}", "X-Forwarded-For": address}
            assert misconfigured.get("/api/v1/devices", headers=fresh).status_code == status
            misconfigured.get("/api/v1/devices", headers=bad)


def test_guessing_tokens_ends_without_asking_the_database(limited: StationProcess) -> None:
    with from_address(limited, "203.0.113.22") as client:
        found = [
            client.get("/api/v1/devices", headers={"Authorization": f"Bearer {n}"}).status_code
            for n in range(32)
        ]
    assert found == [401] * 30 + [429] * 2


def test_logins_of_one_account_are_limited_from_wherever_they_come(
    limited: StationProcess,
) -> None:
    found = []
    for number in range(21):
        with from_address(limited, f"198.51.100.{number}") as client:
            form = {"email": "Victim@example.org", "password": PASSWORD}
            found.append(client.post("/api/v1/auth/login", json=form))
    codes = [answer.json()["error"] for answer in found]
    assert set(codes[:20]) <= {"invalid_credentials", "login_locked"}
    assert codes[20] == "rate_limited"


def test_another_spelling_or_name_of_an_account_shares_its_counter(
    limited: StationProcess,
) -> None:
    email, username = "mallory@example.org", "mallory"
    with from_address(limited, "198.51.100.50") as client:
        form = {"email": email, "username": username, "password": PASSWORD}
        expect(client.post("/api/v1/auth/register", json=form), 201)
    names = [email, f" {email}", f"{email.upper()}\t", username, f"{username}  "]
    found = []
    for number in range(21):
        with from_address(limited, f"198.51.100.{60 + number}") as client:
            form = {"username": names[number % len(names)], "password": "wrong"}
            found.append(client.post("/api/v1/auth/token", data=form).json()["error"])
    assert set(found[:20]) <= {"invalid_credentials", "login_locked"}
    assert found[20] == "rate_limited"


def test_probes_are_not_limited_and_the_health_page_says_where_is_counted(
    limited: StationProcess,
) -> None:
    with from_address(limited, "203.0.113.23") as client:
        assert statuses(client, "/health/live", 40) == [200] * 40
        health = expect(client.get("/health"), 200)
    assert health["services"]["rate_limiter"] == {"status": "ok", "type": "memory"}


def test_limits_can_be_switched_off(tmp_path: Path) -> None:
    with running_station(tmp_path / "data", environment={"RATE_LIMIT_ENABLED": "false"}) as station:
        answer = httpx2.get(f"{station.url}/health")
    assert not LIMIT_HEADERS & answer.headers.keys()
    assert answer.json()["services"]["rate_limiter"]["status"] == "disabled"


def test_the_limits_are_those_of_the_contract_unless_set(tmp_path: Path) -> None:
    environment = {"RATE_LIMIT_FACTOR": "1"}
    with running_station(tmp_path / "data", environment=environment) as station:
        with StationClient(station.url) as owner:
            device = owner.sign_up().register_device()
            of_user = owner.http.get("/api/v1/devices").headers
            of_device = send(owner, device).headers
        of_address = httpx2.get(f"{station.url}/health").headers
    found = [answer["x-ratelimit-limit"] for answer in (of_address, of_user, of_device)]
    assert found == ["100", "600", "6000"]
    left_s = int(of_address["x-ratelimit-reset"]) - datetime.now(UTC).timestamp()
    assert left_s <= 60


def shared(url: str) -> Mapping[str, str]:
    return {**LIMITED, "RATE_LIMIT_STORAGE_URL": url, "RATE_LIMIT_SYNC_INTERVAL_S": "0.05"}


def test_two_stations_share_their_counts_through_redis(tmp_path: Path) -> None:
    environment = shared(redis_url())
    address = f"2001:db8:{secrets.token_hex(2)}:{secrets.token_hex(2)}::1"
    with (
        running_station(tmp_path / "one", environment=environment) as one,
        running_station(tmp_path / "two", environment=environment) as two,
        from_address(one, address) as here,
        from_address(two, address) as there,
    ):
        assert statuses(here, "/", 20) == [200] * 20

        def left_there() -> int:
            return int(there.get("/").headers["x-ratelimit-remaining"])

        wait_until_blocking(lambda: left_there() < 10)
        wait_until_blocking(lambda: there.get("/").status_code == 429)
        wait_until_blocking(lambda: here.get("/").status_code == 429)
        health = expect(httpx2.get(f"{one.url}/health"), 200)
        assert health["services"]["rate_limiter"] == {"status": "ok", "type": "redis"}


def test_without_redis_a_station_counts_in_memory_and_says_so(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"redis://127.0.0.1:{nobody.getsockname()[1]}/0"
        with running_station(tmp_path / "data", environment=shared(url)) as station:
            wait_until_blocking(lambda: "rate_limits_alone" in station.output())
            health = expect(httpx2.get(f"{station.url}/health"), 200)
            with from_address(station, "203.0.113.31") as client:
                assert statuses(client, "/", 31) == [200] * 30 + [429]
    assert health["status"] == "degraded"
    assert health["services"]["rate_limiter"] == {"status": "degraded", "type": "memory"}


class Mute(ThreadingTCPServer):
    """Takes connections, as Redis does, and never answers."""

    daemon_threads = True
    allow_reuse_address = True


class Silence(BaseRequestHandler):
    def handle(self) -> None:
        while self.request.recv(4096):
            pass


def test_a_redis_that_never_answers_holds_nobody_up(tmp_path: Path) -> None:
    with Mute(("127.0.0.1", 0), Silence) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        url = f"redis://127.0.0.1:{server.server_address[1]}/0"
        with running_station(tmp_path / "data", environment=shared(url)) as station:
            wait_until_blocking(lambda: "rate_limits_alone" in station.output())
            with from_address(station, "203.0.113.32") as client:
                assert statuses(client, "/", 31) == [200] * 30 + [429]
                slowest_ms = float(client.get("/").headers["x-process-time"].removesuffix("ms"))
            assert slowest_ms < 1_000
            assert station.stop() == 0
        server.shutdown()


def test_counts_go_on_while_redis_is_lost_and_are_shared_when_it_returns(tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    with running_redis(tmp_path / "redis") as redis:
        environment = {**shared(redis.url), "REDIS_PREFIX": "greenhouse"}
        with (
            running_station(tmp_path / "one", environment=environment) as one,
            running_station(tmp_path / "two", environment=environment) as two,
            from_address(one, "203.0.113.33") as here,
            from_address(two, "203.0.113.33") as there,
        ):
            assert statuses(here, "/", 10) == [200] * 10
            wait_until_blocking(lambda: redis.keys("greenhouse:rate:*") != [])
            assert redis.keys("fieldstation:rate:*") == []
            redis.kill()
            wait_until_blocking(lambda: "rate_limits_alone" in one.output())
            wait_until_blocking(lambda: "rate_limits_alone" in two.output())
            assert statuses(here, "/", 15) == [200] * 15
            redis.start()
            wait_until_blocking(lambda: "rate_limits_shared" in one.output())
            wait_until_blocking(lambda: "rate_limits_shared" in two.output())
            wait_until_blocking(lambda: there.get("/").status_code == 429)
            health = expect(httpx2.get(f"{one.url}/health"), 200)
    assert health["services"]["rate_limiter"] == {"status": "ok", "type": "redis"}
