"""Tokens that were made, mended or borrowed open no door of a real station."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from time import time_ns
from typing import Any

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from websockets.exceptions import ConnectionClosed, InvalidStatus

from fieldstation.domains.identity.service.tokens import key_id, signing_key
from tests.clients import PASSWORD, StationClient, expect
from tests.domains.identity.test_tokens import encode, forge
from tests.live_client import live
from tests.mqtt_client import MqttClient
from tests.security.conftest import PRODUCTION
from tests.station_process import StationProcess

SECRET = PRODUCTION["SECRET_KEY"]
KEY = signing_key(SECRET)
HEADER = {"alg": "HS256", "typ": "JWT", "kid": key_id(KEY)}
HTTPS = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.7"}
NOW = time_ns() // 1_000_000_000
RACERS = 10


@pytest.fixture(scope="session")
def tokens(production: StationProcess) -> Iterator[dict[str, Any]]:
    """A user's real tokens on a station whose secret is known here."""
    form = {"email": "mallory@example.org", "password": PASSWORD}
    with httpx2.Client(base_url=production.url, headers=HTTPS, timeout=20) as http:
        expect(http.post("/api/v1/auth/register", json=form), 201)
        yield expect(http.post("/api/v1/auth/login", json=form), 200)


def who_am_i(production: StationProcess, token: str) -> httpx2.Response:
    headers = {**HTTPS, "Authorization": f"Bearer {token}"}
    return httpx2.get(f"{production.url}/api/v1/auth/me", headers=headers)


def public_pem() -> bytes:
    public = rsa.generate_private_key(65_537, 2_048).public_key()
    return public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def signed(claims: dict[str, Any], key: bytes = KEY, **header: Any) -> str:
    return forge({**HEADER, **header}, claims, key)


Attack = Callable[[dict[str, Any]], str]
ATTACKS: dict[str, Attack] = {
    "alg none": lambda c: forge({**HEADER, "alg": "none"}, c),
    "alg nOnE": lambda c: forge({**HEADER, "alg": "nOnE"}, c, KEY),
    "alg missing": lambda c: forge({"typ": "JWT", "kid": HEADER["kid"]}, c, KEY),
    "alg HS512": lambda c: jwt.encode(c, KEY * 2, "HS512", headers={"kid": HEADER["kid"]}),
    "alg RS256 with our key": lambda c: signed(c, alg="RS256"),
    "HMAC with a public key": lambda c: signed(c, public_pem()),
    "alg ES256": lambda c: jwt.encode(
        c, ec.generate_private_key(ec.SECP256R1()), "ES256", headers={"kid": HEADER["kid"]}
    ),
    "the raw secret": lambda c: signed(c, SECRET.encode()),
    "no signature": lambda c: signed(c).rpartition(".")[0] + ".",
    "half a signature": lambda c: signed(c)[:-20],
    "kid of a file": lambda c: signed(c, b"\x00", kid="../../../../dev/null"),
    "kid of SQL": lambda c: signed(c, kid="x' UNION SELECT 'secret"),
    "kid missing": lambda c: forge({"alg": "HS256", "typ": "JWT"}, c, KEY),
    "kid a list": lambda c: signed(c, kid=[HEADER["kid"]]),
    "kid of nobody": lambda c: signed(c, kid="0" * 16),
    "a key in the header": lambda c: signed(
        c, b"mine", jwk={"kty": "oct", "k": encode(b"mine")}, jku="http://127.0.0.1:9/keys"
    ),
    "critical": lambda c: signed(c, crit=["exp"]),
    "another audience": lambda c: signed({**c, "aud": "another"}),
    "another issuer": lambda c: signed({**c, "iss": "https://evil.example"}),
    "another type": lambda c: signed({**c, "type": "refresh"}),
    "expired": lambda c: signed({**c, "exp": NOW - 1}),
    "expires as text": lambda c: signed({**c, "exp": "2999-01-01"}),
    "expires never": lambda c: signed({name: v for name, v in c.items() if name != "exp"}),
    "not yet valid": lambda c: signed({**c, "nbf": NOW + 3_600}),
    "of nobody": lambda c: signed({**c, "sub": "0198c0de-7a3b-7c11-9b51-3f5a6f2f6a01"}),
    "tampered": lambda c: tampered(signed(c), {**c, "sub": "somebody"}),
    "a scope list": lambda c: signed({**c, "scope": ["system:admin"]}),
}


def tampered(token: str, claims: dict[str, Any]) -> str:
    head, _, signature = token.split(".")
    return f"{head}.{encode(json.dumps(claims).encode())}.{signature}"


def claims_in(token: str) -> dict[str, Any]:
    return jwt.decode(token, options={"verify_signature": False})


def test_the_way_these_tokens_are_made_is_right(
    production: StationProcess, tokens: dict[str, Any]
) -> None:
    mine = signed(claims_in(tokens["access_token"]))
    assert who_am_i(production, mine).status_code == 200


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_forged_token_is_nobody_s_everywhere(
    production: StationProcess, tokens: dict[str, Any], attack: str
) -> None:
    token = ATTACKS[attack](claims_in(tokens["access_token"]))
    answer = who_am_i(production, token)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["detail"] == who_am_i(production, "x").json()["detail"]
    with live(production.url, token=token, headers=HTTPS) as socket:
        assert socket.wait_until_closed()[0] == 1008


def test_no_kind_of_secret_passes_for_another(
    production: StationProcess, tokens: dict[str, Any]
) -> None:
    access, refresh = tokens["access_token"], tokens["refresh_token"]
    headers = {**HTTPS, "Authorization": f"Bearer {access}"}
    url = f"{production.url}/api/v1/auth"
    ticket = expect(httpx2.post(f"{url}/ws-ticket", headers=headers), 200)["ticket"]
    for borrowed in (refresh, ticket, f"fsu_{access}", f"fsd_{refresh}", f"{access} {access}"):
        assert who_am_i(production, borrowed).status_code == 401
    for borrowed in (access, ticket):
        form = {"refresh_token": borrowed[:200]}
        assert httpx2.post(f"{url}/refresh", json=form, headers=HTTPS).status_code == 401
    for borrowed in (access, refresh):
        with live(production.url, query=[("ticket", borrowed)], headers=HTTPS) as socket:
            assert socket.wait_until_closed()[0] == 1008
        with MqttClient(production.mqtt_port, "mallory@example.org", borrowed) as mqtt:
            assert mqtt.refused is not None


def at_the_same_time(work: Callable[[], Any]) -> list[Any]:
    with ThreadPoolExecutor(RACERS) as threads:
        return [each.result() for each in [threads.submit(work) for _ in range(RACERS)]]


def test_of_ten_refreshes_at_once_one_wins_and_a_later_one_ends_it_all(
    client: StationClient,
) -> None:
    form = {"email": client.email, "password": PASSWORD}
    first = expect(client.http.post("/api/v1/auth/login", json=form), 200)["refresh_token"]
    url = f"{client.url}/api/v1/auth/refresh"
    answers = at_the_same_time(lambda: httpx2.post(url, json={"refresh_token": first}, timeout=20))
    (won,) = [answer.json() for answer in answers if answer.status_code == 200]
    assert {answer.status_code for answer in answers} == {200, 401}
    assert httpx2.post(url, json={"refresh_token": first}).status_code == 401
    bearer = {"Authorization": f"Bearer {won['access_token']}"}
    # The first token came once more after its exchange: its family is over, another goes on.
    assert httpx2.get(f"{client.url}/api/v1/auth/me", headers=bearer).status_code == 401
    assert client.get("/api/v1/auth/me")["email"] == client.email


def test_of_ten_who_bring_one_ticket_at_once_one_gets_in(client: StationClient) -> None:
    ticket = expect(client.http.post("/api/v1/auth/ws-ticket"), 200)["ticket"]

    def enter() -> bool:
        with live(client.url, query=[("ticket", ticket)]) as socket:
            try:
                return socket.ping()["type"] == "pong"
            except ConnectionClosed:
                return False

    assert sorted(at_the_same_time(enter)) == [False] * (RACERS - 1) + [True]


def test_a_page_of_another_origin_neither_uses_nor_spends_a_ticket(client: StationClient) -> None:
    ticket = expect(client.http.post("/api/v1/auth/ws-ticket"), 200)["ticket"]
    query = [("ticket", ticket)]
    with (
        pytest.raises(InvalidStatus),
        live(client.url, query=query, origin="https://evil.example"),
    ):
        pass
    with live(client.url, query=query, origin=client.url) as socket:
        assert socket.ping()["type"] == "pong"
