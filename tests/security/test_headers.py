"""Every answer of a production station earns an A+ from Mozilla's Observatory."""

from collections.abc import Iterator

import httpx2
import pytest
from websockets.exceptions import InvalidStatus

from fieldstation.web.docs.assets import address_of
from tests.clients import PASSWORD
from tests.live_client import live
from tests.security.conftest import ORIGIN
from tests.security.observatory import parse_policy, score
from tests.station_process import StationProcess, running_station

FIXED = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "x-xss-protection": "1; mode=block",
    "referrer-policy": "strict-origin-when-cross-origin",
    "permissions-policy": "geolocation=(), microphone=(), camera=(), payment=(), usb=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
ANSWERS = {
    "health": ("GET", "/health", 200),
    "front page": ("GET", "/", 200),
    "missing": ("GET", "/api/v1/nothing", 404),
    "refused": ("GET", "/api/v1/devices", 401),
    "wrong method": ("DELETE", "/api/v1/auth/login", 405),
    "hot route": ("POST", "/api/v1/devices/x/readings", 401),
    "too large": ("POST", "/api/v1/auth/register", 413),
    **{path: ("GET", path, 200) for path in ("/docs", "/swagger", "/redoc", "/docs/websocket")},
    **{path: ("GET", path, 200) for path in ("/openapi.json", "/asyncapi.json")},
    "asset": ("GET", address_of("pages.css"), 200),
    "no asset": ("GET", "/docs/assets/x/y", 404),
}


@pytest.fixture
def secure(production: StationProcess) -> Iterator[httpx2.Client]:
    """A browser that reaches the station through the proxy, by HTTPS."""
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.7"}
    with httpx2.Client(base_url=production.url, headers=headers, timeout=20) as client:
        yield client


@pytest.mark.parametrize("name", ANSWERS)
def test_every_kind_of_answer_earns_an_a_plus(secure: httpx2.Client, name: str) -> None:
    method, path, status = ANSWERS[name]
    body = b" " * (11 << 20) if name == "too large" else None
    answer = secure.request(method, path, content=body, headers={"Origin": ORIGIN})
    assert answer.status_code == status
    assert FIXED.items() <= dict(answer.headers).items()
    assert answer.headers["strict-transport-security"] == (
        "max-age=31536000; includeSubDomains; preload"
    )
    assert score(dict(answer.headers)) >= 100


@pytest.mark.parametrize("path", ["/docs", "/swagger", "/redoc", "/docs/websocket"])
def test_a_page_loads_and_runs_what_is_the_station_s_own_and_nothing_else(
    secure: httpx2.Client, path: str
) -> None:
    answers = [secure.get(path) for _ in range(2)]
    policies = [parse_policy(answer.headers["content-security-policy"]) for answer in answers]
    for policy in policies:
        assert policy["default-src"] == ["'none'"]
        assert policy["frame-ancestors"] == ["'none'"]
        sources = {source for listed in policy.values() for source in listed}
        assert not {source for source in sources if "://" in source or source == "*"}
        assert not {"'unsafe-eval'", "'unsafe-inline'"} & set(policy["script-src"])
    assert policies[0]["script-src"] != policies[1]["script-src"]  # a nonce is used once
    assert "<script>" not in answers[0].text


@pytest.mark.parametrize("path", ["/ws", "/ws/live-data", "/mqtt"])
def test_handshakes_carry_the_headers_too(production: StationProcess, path: str) -> None:
    proxied = {"X-Forwarded-Proto": "https"}
    protocols = ["mqtt"] if path == "/mqtt" else []
    with live(production.url, path=path, headers=proxied, subprotocols=protocols) as socket:
        opened = socket.socket.response
    with (
        pytest.raises(InvalidStatus) as refused,
        live(production.url, path=path, headers=proxied, origin="https://evil.example"),
    ):
        pass
    denied = refused.value.response
    assert denied.status_code == 403
    for response in (opened, denied):
        assert response is not None
        headers = {name.lower(): value for name, value in response.headers.raw_items()}
        assert FIXED.items() <= headers.items()
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert "max-age" in headers["strict-transport-security"]


def test_answers_that_set_cookies_earn_it_too(secure: httpx2.Client) -> None:
    form = {"email": "cookie@example.org", "password": PASSWORD}
    assert secure.post("/api/v1/auth/register", json=form).status_code == 201
    answer = secure.post("/api/v1/auth/login?cookie=true", json=form)
    cookies = answer.headers.get_list("set-cookie")
    assert len(cookies) == 2
    assert score(dict(answer.headers), cookies=cookies) >= 100


def test_the_api_allows_a_browser_nothing(secure: httpx2.Client) -> None:
    assert secure.get("/health").headers["content-security-policy"] == (
        "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )


def test_the_rules_do_find_faults() -> None:
    assert score({}) < 60
    assert score({**FIXED, "strict-transport-security": "max-age=31536000"}) < 100


@pytest.mark.parametrize("page", ["/docs", "/swagger", "/redoc"])
def test_a_viewer_has_the_policy_of_the_settings_and_its_nonce(
    settled: StationProcess, page: str
) -> None:
    headers = httpx2.get(settled.url + page).headers
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    nonce = policy["script-src"].rsplit("'nonce-", 1)[1]
    assert policy == {
        "default-src": "'self' https://all.example.org",
        "script-src": f"'self' https://scripts.example.org 'nonce-{nonce}",
        "style-src": "'self' https://styles.example.org 'unsafe-inline'",
        "img-src": "'self' https://images.example.org",
        "font-src": "'self' data:",
        "connect-src": "'self' https://api.example.org",
        "object-src": "'none'",
        "frame-ancestors": "'self'",
        "base-uri": "'self'",
        "form-action": "'self'",
        "report-uri": "/violations",
    }
    assert headers["x-frame-options"] == "SAMEORIGIN"


def test_a_page_of_our_own_has_no_inline_style(settled: StationProcess) -> None:
    policy = httpx2.get(f"{settled.url}/docs/websocket").headers["content-security-policy"]
    assert "style-src 'self' https://styles.example.org 'nonce-" in policy
    assert "unsafe-inline" not in policy
    assert "font-src" not in policy


def test_an_answer_has_what_the_settings_leave_it(settled: StationProcess) -> None:
    headers = httpx2.get(f"{settled.url}/health", headers={"X-Correlation-ID": "mine"}).headers
    assert headers["x-frame-options"] == "SAMEORIGIN"
    assert headers["content-security-policy"].endswith("; report-uri /violations")
    assert not {"strict-transport-security", "x-correlation-id", "x-process-time"} & set(headers)
    assert headers["x-request-id"]


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StationProcess]:
    """A station whose operator changed what browsers are told."""
    environment = {
        "FRAME_OPTIONS": "SAMEORIGIN",
        "CSP_REPORT_URI": "/violations",
        "CSP_DEFAULT_SRC": "'self',https://all.example.org",
        "CSP_SCRIPT_SRC": '["\'self\'", "https://scripts.example.org"]',
        "CSP_STYLE_SRC": "'self',https://styles.example.org",
        "CSP_IMG_SRC": "'self',https://images.example.org",
        "CSP_CONNECT_SRC": "'self',https://api.example.org",
        "ENABLE_CORRELATION_ID": "false",
        "ENABLE_TIMING_MIDDLEWARE": "false",
    }
    with running_station(tmp_path_factory.mktemp("csp"), environment=environment) as station:
        yield station


@pytest.mark.parametrize("path", ["/docs", "/docs/websocket", "/health"])
def test_no_policy_is_sent_where_none_is_wanted(without_policy: str, path: str) -> None:
    assert "content-security-policy" not in httpx2.get(without_policy + path).headers


@pytest.fixture(scope="module")
def without_policy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    environment = {"CSP_ENABLED": "false"}
    with running_station(tmp_path_factory.mktemp("free"), environment=environment) as station:
        yield station.url
