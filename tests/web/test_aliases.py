"""An alias answers as the canonical path does."""

from typing import Any

import httpx2
import pytest

from fieldstation.web.aliases import ALIASES
from tests.clients import PASSWORD, StationClient, expect

LITERAL = {
    "/api/data/export": "/api/v1/data/export",
    "/health": "/api/v1/health",
    "/token": "/api/v1/auth/token",
    "/v1/auth/login": "/api/v1/auth/login",
    "/v1/auth/me": "/api/v1/auth/me",
    "/v1/auth/refresh": "/api/v1/auth/refresh",
}
"""What the source documents call the canonical paths; nothing of it is taken from the table."""
PASSING = ("timestamp", "x-process-time", "x-request-id", "x-correlation-id", "date")


def without_passing(content: Any) -> Any:
    if isinstance(content, dict):
        return {k: without_passing(v) for k, v in content.items() if k not in PASSING}
    return content


def test_the_table_holds_what_the_source_documents_name() -> None:
    assert ALIASES == LITERAL


@pytest.mark.parametrize("alias", ["/health", "/v1/auth/me"])
def test_a_reading_alias_answers_alike(client: StationClient, alias: str) -> None:
    one, two = client.http.get(alias), client.http.get(LITERAL[alias])
    assert one.status_code == two.status_code == 200
    assert without_passing(one.json()) == without_passing(two.json())
    assert set(one.headers) == set(two.headers)


@pytest.mark.parametrize("alias", sorted(LITERAL))
def test_every_alias_refuses_alike(client: StationClient, alias: str) -> None:
    with httpx2.Client(base_url=client.url) as nobody:
        for method in ("GET", "POST", "DELETE"):
            one, two = (nobody.request(method, path) for path in (alias, LITERAL[alias]))
            assert one.status_code == two.status_code
            assert one.headers.get("allow") == two.headers.get("allow")


def test_the_password_flow_s_token_opens_the_api(client: StationClient) -> None:
    form = {"grant_type": "password", "username": client.email, "password": PASSWORD}
    token = expect(client.http.post("/token", data=form), 200)["access_token"]
    me = client.http.get("/v1/auth/me", headers={"Authorization": f"Bearer {token}"})
    assert expect(me, 200)["email"] == client.email


def test_a_session_is_had_and_kept_by_aliases_alone(client: StationClient) -> None:
    with httpx2.Client(base_url=client.url) as http:
        form = {"email": client.email, "password": PASSWORD}
        first = expect(http.post("/v1/auth/login", json=form), 200)
        assert first["token_type"] == "bearer"
        renewed = expect(
            http.post("/v1/auth/refresh", json={"refresh_token": first["refresh_token"]}), 200
        )
        assert renewed["refresh_token"] != first["refresh_token"]
        bearer = {"Authorization": f"Bearer {renewed['access_token']}"}
        assert expect(http.get("/v1/auth/me", headers=bearer), 200)["email"] == client.email
        assert expect(http.get("/health"), 200)["status"] == "healthy"


def test_aliases_are_not_in_the_documented_api(client: StationClient) -> None:
    paths = client.get("/openapi.json")["paths"]
    assert not set(LITERAL) & set(paths)
    assert set(LITERAL.values()) <= set(paths)


def test_a_request_by_an_alias_is_counted_under_the_route(client: StationClient) -> None:
    client.http.get("/v1/auth/me")
    lines = [line for line in client.http.get("/metrics").text.splitlines() if "auth/me" in line]
    assert any('endpoint="/api/v1/auth/me"' in line for line in lines), lines
