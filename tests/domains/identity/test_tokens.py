"""Access tokens: what is signed, and what is refused."""

import base64
import hashlib
import hmac
import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest

from fieldstation.core.errors import Unauthenticated
from fieldstation.core.settings import SettingsError
from fieldstation.domains.identity.service.tokens import (
    KeyRing,
    digest_of,
    key_id,
    load_key_ring,
    new_secret,
    read_access,
    signing_key,
)
from tests.domains.identity.stations import (
    SECRET,
    START,
    Station,
    expect,
    make_settings,
    open_station,
    refusal,
)

KEY = signing_key(SECRET)
HEADER = {"kid": key_id(KEY)}


def claims_of(**changes: Any) -> dict[str, Any]:
    now = int(START.timestamp())
    claims = {
        "iss": "fieldstation",
        "aud": "fieldstation-api",
        "sub": "a-user",
        "jti": "a-token",
        "sid": "a-family",
        "iat": now,
        "nbf": now,
        "exp": now + 60,
        "type": "access",
    }
    return {name: value for name, value in {**claims, **changes}.items() if value is not None}


def sign(claims: dict[str, Any], **header: Any) -> str:
    return jwt.encode(claims, KEY, algorithm="HS256", headers={**HEADER, **header})


def forge(header: dict[str, Any], claims: dict[str, Any], key: bytes = b"") -> str:
    """Write a token by hand, signed with HMAC-SHA256 if there is a key."""
    parts = [encode(json.dumps(part).encode()) for part in (header, claims)]
    message = ".".join(parts)
    signature = hmac.digest(key, message.encode(), hashlib.sha256) if key else b""
    return f"{message}.{encode(signature)}"


def encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def test_own_token_is_read() -> None:
    claims = read_access(KeyRing(SECRET), sign(claims_of(scope="a b")), now=START)
    assert (claims.user_id, claims.token_id, claims.family_id) == ("a-user", "a-token", "a-family")
    assert claims.scopes == {"a", "b"}
    assert claims.expires_at.timestamp() == START.timestamp() + 60


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "somebody"},
        {"aud": "something"},
        {"aud": ["fieldstation-api-2"]},
        {"type": "refresh"},
        {"exp": int(START.timestamp())},
        {"exp": "2099"},
        {"exp": 1e999},
        {"exp": True},
        {"nbf": int(START.timestamp()) + 31},
        {"sub": 7},
        {"scope": ["org:admin"]},
        *(
            {name: None}
            for name in ("iss", "aud", "sub", "jti", "sid", "iat", "nbf", "exp", "type")
        ),
    ],
)
def test_token_with_wrong_claims_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(Unauthenticated):
        read_access(KeyRing(SECRET), sign(claims_of(**changes)), now=START)


@pytest.mark.parametrize(
    "make",
    [
        lambda: forge({"alg": "none", "typ": "JWT"}, claims_of()),
        lambda: forge({"alg": "none", "typ": "JWT", **HEADER}, claims_of()),
        lambda: forge({"alg": "None", **HEADER}, claims_of(), KEY),
        lambda: forge({"alg": "RS256", **HEADER}, claims_of(), KEY),
        lambda: jwt.encode(claims_of(), KEY + KEY, algorithm="HS512", headers=HEADER),
        lambda: jwt.encode(claims_of(), KEY, algorithm="HS256"),
        lambda: sign(claims_of(), kid="../../../../dev/null"),
        lambda: sign(claims_of(), kid="x' UNION SELECT 'secret"),
        lambda: forge({"alg": "HS256", "kid": [HEADER["kid"]]}, claims_of(), KEY),
        lambda: forge({"alg": "HS256", "kid": None}, claims_of(), KEY),
        lambda: forge({"alg": "HS256", **HEADER, "crit": ["exp"]}, claims_of(), KEY),
        lambda: forge({"alg": "HS256", **HEADER}, claims_of(), SECRET.encode()),
        lambda: jwt.encode(
            claims_of(), b"another secret of thirty-two bytes!!", algorithm="HS256", headers=HEADER
        ),
        lambda: sign(claims_of())[:-4] + "AAAA",
        lambda: sign(claims_of(padding="x" * 5000)),
        lambda: "a.b.c",
        lambda: "",
        lambda: "\x00\ud800",
        lambda: ".." * 10,
    ],
)
def test_forged_token_is_refused(make: Callable[[], str]) -> None:
    with pytest.raises(Unauthenticated):
        read_access(KeyRing(SECRET), make(), now=START)


def test_every_refusal_reads_the_same() -> None:
    ring, said = KeyRing(SECRET), set()
    for token in (sign(claims_of(type="refresh")), sign(claims_of(exp=1)), "a.b.c"):
        with pytest.raises(Unauthenticated) as caught:
            read_access(ring, token, now=START)
        said.add((caught.value.detail, caught.value.code))
    assert len(said) == 1


@pytest.mark.anyio
async def test_tokens_of_the_previous_secret_stay_valid(url: str) -> None:
    async with open_station(url) as before:
        ada = await before.register("ada@example.org")
    async with open_station(url, ring=KeyRing("a new secret", [SECRET])) as rotated:
        client = rotated.client(ada.tokens["access_token"])
        expect(await client.get("/api/v1/auth/me"), 200)
        newer = await rotated.enter("ada@example.org")
    async with open_station(url, ring=KeyRing("a new secret")) as after:
        client = after.client(ada.tokens["access_token"])
        refusal(await client.get("/api/v1/auth/me"), 401, "unauthenticated")
        client = after.client(newer.tokens["access_token"])
        expect(await client.get("/api/v1/auth/me"), 200)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "header", ["Basic YTpi", "Bearer", "Bearer ", "Token fsu_x", "fsu_x", "Bearer a b"]
)
async def test_other_authorization_headers_are_refused(station: Station, header: str) -> None:
    answer = await station.client(authorization=header).get("/api/v1/auth/me")
    refusal(answer, 401, "unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.anyio
async def test_no_credential_is_refused(station: Station) -> None:
    for path in ("auth/me", "users", "organizations", "auth/api-keys", "organizations/x"):
        refusal(await station.client().get(f"/api/v1/{path}"), 401, "unauthenticated")


@pytest.mark.anyio
async def test_token_of_a_user_who_is_gone_is_refused(station: Station) -> None:
    token = jwt.encode(
        claims_of(sub="0198c0de-7a3b-7c11-9b51-3f5a6f2f6a01"),
        KEY,
        algorithm="HS256",
        headers=HEADER,
    )
    refusal(await station.client(token).get("/api/v1/auth/me"), 401, "unauthenticated")


def test_secret_is_made_once_and_kept_for_its_owner(tmp_path: Path) -> None:
    settings = make_settings(SECRET_KEY="", DATA_DIR=str(tmp_path / "deep" / "down"))
    token = load_key_ring(settings).sign(claims_of())
    assert load_key_ring(settings).verify(token)["sub"] == "a-user"
    file = tmp_path / "deep" / "down" / "secret_key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.write_text("short")
    with pytest.raises(SettingsError, match="no usable secret"):
        load_key_ring(settings)


def test_unusable_data_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    settings = make_settings(SECRET_KEY="", DATA_DIR=str(tmp_path / "file"))
    with pytest.raises(SettingsError, match="SECRET_KEY is not set"):
        load_key_ring(settings)


def test_configured_secrets_make_the_ring() -> None:
    previous = KeyRing("an earlier secret").sign(claims_of())
    ring = load_key_ring(make_settings(PREVIOUS_SECRET_KEYS="an earlier secret"))
    assert ring.verify(previous)["jti"] == "a-token"


def test_secrets_are_long_and_stored_as_digests() -> None:
    assert len(new_secret()) == 43
    assert new_secret() != new_secret()
    assert digest_of("x") == hashlib.sha256(b"x").hexdigest()
