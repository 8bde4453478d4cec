"""Which names, origins and proxies a station listens to."""

import secrets
import socket
import sqlite3
import ssl
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.agent.certificates import write_certificates
from tests.clients import PASSWORD, StationClient, expect
from tests.security.conftest import HOST, ORIGIN
from tests.station_process import StationProcess, running_station

SECURE = {"X-Forwarded-Proto": "https"}
PREFLIGHT = {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "x-a, x-b"}


@pytest.fixture
def browser(production: StationProcess) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=production.url, headers=SECURE, timeout=20) as client:
        yield client


def test_a_configured_origin_may_use_the_api_and_see_what_was_measured(
    browser: httpx2.Client,
) -> None:
    headers = browser.get("/health", headers={"Origin": ORIGIN}).headers
    assert headers["access-control-allow-origin"] == ORIGIN
    assert headers["access-control-allow-credentials"] == "true"
    assert "Origin" in headers["vary"]
    exposed = headers["access-control-expose-headers"].lower().split(", ")
    assert {"x-correlation-id", "x-request-id", "x-process-time", "retry-after"} <= set(exposed)
    assert {f"x-ratelimit-{name}" for name in ("limit", "remaining", "reset")} <= set(exposed)
    assert {"traceparent", "idempotency-replayed", "www-authenticate", "etag"} <= set(exposed)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", f"{ORIGIN}.evil.example"])
def test_another_origin_is_told_nothing(browser: httpx2.Client, origin: str) -> None:
    answer = browser.get("/health", headers={"Origin": origin})
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert "Origin" in answer.headers["vary"]
    refused = browser.options("/api/v1/devices", headers={"Origin": origin, **PREFLIGHT})
    assert refused.status_code == 403
    assert refused.json()["error"] == "origin_refused"


def test_a_preflight_says_what_is_allowed(browser: httpx2.Client) -> None:
    answer = browser.options("/api/v1/devices", headers={"Origin": ORIGIN, **PREFLIGHT})
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert "PATCH" in answer.headers["access-control-allow-methods"]
    assert answer.headers["access-control-allow-headers"] == "x-a, x-b"


def test_a_refusal_can_be_read_by_the_page_that_caused_it(browser: httpx2.Client) -> None:
    answer = browser.get("/api/v1/devices", headers={"Origin": ORIGIN})
    assert answer.status_code == 401
    assert answer.headers["access-control-allow-origin"] == ORIGIN


def test_an_origin_of_everybody_never_comes_with_credentials(tmp_path: Path) -> None:
    environment = {"CORS_ORIGINS": "*", "CORS_METHODS": "GET", "CORS_HEADERS": "X-A"}
    with running_station(tmp_path / "data", environment=environment) as station:
        headers = httpx2.get(f"{station.url}/health", headers={"Origin": "https://a"}).headers
        asked = {"Origin": "https://a", **PREFLIGHT}
        preflight = httpx2.options(f"{station.url}/health", headers=asked).headers
    assert headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in headers
    assert preflight["access-control-allow-methods"] == "GET"
    assert preflight["access-control-allow-headers"] == "X-A"


@pytest.mark.parametrize("host", [HOST, f"{HOST}:8443", "a.lab.example.org", "FIELD.example.org"])
def test_the_station_answers_to_its_names(browser: httpx2.Client, host: str) -> None:
    assert browser.get("/health", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "", "lab.example.org", f"{HOST}.evil.example"])
def test_a_foreign_host_is_400(browser: httpx2.Client, host: str) -> None:
    answer = browser.get("/health", headers={"Host": host})
    assert answer.status_code == 400
    assert answer.json()["error"] == "foreign_host"
    assert answer.headers["x-frame-options"] == "DENY"


def test_an_address_of_ipv6_is_a_name_as_well(tmp_path: Path) -> None:
    names = "2001:db8::1,[2001:db8::2]"
    environment = {"API_PUBLIC_URL": "http://[::1]:8000", "ALLOWED_HOSTS": names}
    with running_station(tmp_path / "data", environment=environment) as station:

        def status(host: str) -> int:
            return httpx2.get(f"{station.url}/health", headers={"Host": host}).status_code

        for host in ("[::1]", "[::1]:8000", "[2001:db8::1]", "[2001:DB8::2]:80"):
            assert status(host) == 200
        for host in ("[2001:db8::3]", "::1", "127.0.0.1"):
            assert status(host) == 400


def test_a_socket_by_a_foreign_name_is_refused_before_it_opens(
    production: StationProcess,
) -> None:
    with (
        socket.create_connection(("127.0.0.1", production.port)) as here,
        pytest.raises(InvalidStatus) as refused,
        connect("ws://evil.example/ws", sock=here, additional_headers=SECURE),
    ):
        pass
    assert refused.value.response.status_code == 400


def test_plain_http_is_sent_to_https_except_probes(production: StationProcess) -> None:
    answer = httpx2.get(f"{production.url}/api/v1/devices?limit=1", headers={"Host": HOST})
    assert answer.status_code == 308
    assert answer.headers["location"] == f"https://{HOST}/api/v1/devices?limit=1"
    for path in ("/health", "/health/live", "/health/ready"):
        assert httpx2.get(production.url + path).status_code == 200
    assert httpx2.get(f"{production.url}/healthy").status_code == 308


@pytest.mark.parametrize("said", ["https", "HTTPS", "https,http", "https, http", "wss"])
def test_a_proxy_says_that_the_client_came_by_https(production: StationProcess, said: str) -> None:
    headers = {"Host": HOST, "X-Forwarded-Proto": said}
    assert httpx2.get(f"{production.url}/", headers=headers).status_code == 200


@pytest.mark.parametrize("said", ["http", "http,https", "", ","])
def test_a_proxy_that_says_otherwise_is_believed_as_well(
    production: StationProcess, said: str
) -> None:
    headers = {"Host": HOST, "X-Forwarded-Proto": said}
    assert httpx2.get(f"{production.url}/", headers=headers).status_code == 308


def test_a_plain_socket_is_sent_to_https_as_well(production: StationProcess) -> None:
    with (
        socket.create_connection(("127.0.0.1", production.port)) as here,
        pytest.raises(ValueError, match=f"redirect to wss://{HOST}/ws\\?since=1 "),
        connect(f"ws://{HOST}/ws?since=1", sock=here),
    ):
        pass


def test_anybody_else_s_forwarded_proto_changes_nothing(tmp_path: Path) -> None:
    environment = {"HTTPS_REDIRECT": "true", "TRUSTED_PROXIES": "192.0.2.0/24"}
    with running_station(tmp_path / "data", environment=environment) as station:
        assert httpx2.get(f"{station.url}/", headers=SECURE).status_code == 308


def audited_addresses(station: StationProcess, email: str) -> set[str | None]:
    """Return from where the audit trail says that a user acted."""
    file = f"file:{station.data_dir / 'station.db'}?mode=ro"
    statement = (
        "SELECT DISTINCT peer FROM audit_entry JOIN user_account ON entity_id = user_account.id "
        "WHERE email = ?"
    )
    with closing(sqlite3.connect(file, uri=True)) as connection:
        return {row[0] for row in connection.execute(statement, (email,))}


def register(station: StationProcess, email: str, headers: list[tuple[str, str]]) -> None:
    form = {"email": email, "password": PASSWORD}
    answer = httpx2.post(f"{station.url}/api/v1/auth/register", json=form, headers=headers)
    assert answer.status_code == 201


@pytest.mark.parametrize(
    ("hops", "client"),
    [
        (["203.0.113.9"], "203.0.113.9"),
        (["198.51.100.1, 203.0.113.9"], "203.0.113.9"),
        (["198.51.100.1", "203.0.113.9, 127.0.0.2"], "203.0.113.9"),
        (["not an address"], "127.0.0.1"),
        (["2001:db8::7"], "2001:db8::7"),
    ],
)
def test_a_configured_proxy_says_who_is_calling(
    production: StationProcess, hops: list[str], client: str
) -> None:
    email = f"{abs(hash(tuple(hops)))}@example.org"
    headers = [("X-Forwarded-For", hop) for hop in hops]
    register(production, email, [*headers, ("X-Forwarded-Proto", "https")])
    assert audited_addresses(production, email) == {client}


def test_anybody_else_s_forwarded_for_changes_nothing(own_station: StationProcess) -> None:
    register(own_station, "a@example.org", [("X-Forwarded-For", "203.0.113.9")])
    assert audited_addresses(own_station, "a@example.org") == {"127.0.0.1"}


def test_a_write_with_the_cookie_needs_an_origin_of_ours(client: StationClient) -> None:
    form = {"email": client.email, "password": PASSWORD}
    with httpx2.Client(base_url=client.url) as browser:
        expect(browser.post("/api/v1/auth/login?cookie=true", json=form), 200)
        for headers in ({}, {"Origin": "https://evil.example"}, {"Origin": "null"}):
            answer = browser.post("/api/v1/devices", json={"name": "x"}, headers=headers)
            assert expect(answer, 403)["error"] == "csrf_failed"
        device = client.register_device()
        refused = browser.post(device.readings_path, json={"sensor_type": "t", "value": 1})
        assert expect(refused, 403)["error"] == "csrf_failed"
        own = {"Origin": client.url}
        expect(browser.post("/api/v1/devices", json={"name": "x"}, headers=own), 201)
        expect(browser.get("/api/v1/devices"), 200)


@pytest.mark.parametrize(
    ("origin", "status"),
    [(f"https://{HOST}", 201), (f"http://{HOST}", 403), ("http://a.lab.example.org", 403)],
)
def test_a_plain_page_is_not_the_station_s_own_where_it_is_reached_by_https(
    production: StationProcess, origin: str, status: int
) -> None:
    host = origin.partition("//")[2]
    form = {"email": f"plain-{secrets.token_hex(4)}@example.org", "password": PASSWORD}
    with httpx2.Client(base_url=production.url, headers={**SECURE, "Host": host}) as browser:
        expect(browser.post("/api/v1/auth/register", json=form), 201)
        session = browser.post("/api/v1/auth/login?cookie=true", json=form).cookies["session"]
        headers = {"Origin": origin, "Cookie": f"session={session}"}
        answer = browser.post("/api/v1/devices", json={"name": "x"}, headers=headers)
        expect(answer, status)


def test_the_station_serves_https_itself(tmp_path: Path) -> None:
    certificates = write_certificates(tmp_path / "certificates")
    environment = {
        "TLS_CERT_FILE": str(certificates / "station.pem"),
        "TLS_KEY_FILE": str(certificates / "station.key"),
        "HTTPS_REDIRECT": "true",
    }
    context = ssl.create_default_context(cafile=str(certificates / "authority.pem"))
    with running_station(tmp_path / "data", environment=environment) as station:
        assert station.url.startswith("https://")
        answer = httpx2.get(f"{station.url}/", verify=context)
        assert answer.status_code == 200
        address = f"{station.url.replace('http', 'ws')}/ws"
        with (
            connect(address, ssl=context) as live,
            pytest.raises(ConnectionClosed, match="1008"),
        ):
            live.recv(timeout=10)
