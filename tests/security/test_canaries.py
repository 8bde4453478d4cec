"""Secrets that were planted are found nowhere: no log, no file, no dump, no backup, no answer."""

import base64
import hashlib
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from fieldstation.adapters.certificates import Authority
from tests.cli.commands import run_command
from tests.clients import StationClient, expect
from tests.kept_authority import kept_authority
from tests.live_client import live
from tests.mqtt_client import MqttClient
from tests.secure_client import SecureClient, free_port, issue, tls_settings
from tests.security.test_traces import Collector, collector
from tests.services import fresh_postgresql_database
from tests.station_process import StationProcess, running_station
from tests.wait_until import wait_until_blocking

SHOWN_CHARACTERS = 10
"""How much of a key its lists show."""
ELSEWHERE = {"X-Forwarded-For": "203.0.113.9"}


def planted(name: str) -> str:
    return f"planted-{name}-{uuid4().hex}"


@dataclass(slots=True)
class Traces:
    """What was planted, and every place where it must not be found."""

    secrets: dict[str, str]
    places: dict[str, bytes] = field(default_factory=dict)
    numbers: dict[str, bytes] = field(default_factory=dict)
    """Private numbers of keys, in 32 bytes."""

    def plant_key(self, name: str, pem: str) -> None:
        """Plant what is private of a key on a curve of 256 bits, as PEM and as a number."""
        key = load_pem_private_key(pem.encode(), password=None)
        assert isinstance(key, EllipticCurvePrivateKey)
        self.numbers[name] = key.private_numbers().private_value.to_bytes(32, "big")
        self.plant(name, pem.splitlines()[2])  # the line before begins alike for all keys

    def plant(self, name: str, secret: str | None = None) -> str:
        self.secrets[name] = secret or planted(name)
        return self.secrets[name]

    def found(self) -> list[str]:
        """Name each secret with each place that holds it, also as Base64."""
        return [
            f"{name} in {place}"
            for name, secret in self.secrets.items()
            for form in forms(secret)
            for place, content in self.places.items()
            if form in content
        ] + [
            f"{name} in {place}"
            for name, number in self.numbers.items()
            for form in forms_of_number(number)
            for place, content in self.places.items()
            if form in content
        ]


def forms(secret: str) -> Iterator[bytes]:
    telling = secret.rpartition(".")[2][SHOWN_CHARACTERS:]  # of a JWT, its signature
    yield telling.encode()
    yield base64.b64encode(f":{secret}".encode())[4:-4]


def forms_of_number(number: bytes) -> Iterator[bytes]:
    """Give it raw, in hexadecimal, and as Base64 wherever in a text it begins."""
    yield number
    yield number.hex().encode()
    yield number.hex().upper().encode()
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + number)
        yield encoded[4:-4]
        yield encoded[4:-4].translate(bytes.maketrans(b"+/", b"-_"))


class Recording(StationClient):
    """A client that keeps every refusal it got."""

    def __init__(self, url: str, traces: Traces) -> None:
        super().__init__(url)
        self.http.event_hooks["response"] = [self.keep]
        self.traces = traces

    def keep(self, answer: httpx2.Response) -> None:
        if answer.status_code >= 400:
            answer.read()
            request = f"{answer.request.method} {answer.request.url.path}"
            place = f"{answer.status_code} of {request} ({len(self.traces.places)})"
            self.traces.places[place] = f"{answer.headers}\n{answer.text}".encode()


def secrets_of_settings() -> dict[str, str]:
    names = ("SECRET_KEY", "PREVIOUS_SECRET_KEYS", "METRICS_TOKEN", "REDIS_URL", "DATABASE_URL")
    return {name: planted(name.lower()) for name in names}


@pytest.fixture(params=["sqlite", "postgresql"], scope="module")
def traces(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Traces]:
    """Use every secret of a station, then gather all that it left behind."""
    traces = Traces(secrets_of_settings())
    directory = tmp_path_factory.mktemp("canaries") / "data"
    with collector() as spans:
        environment = {
            **{name: traces.secrets[name] for name in list(traces.secrets)[:3]},
            "REDIS_URL": f"redis://ada:{traces.secrets['REDIS_URL']}@127.0.0.1:9/0",
            "LOG_LEVEL": "DEBUG",
            "LOG_FORMAT": "json",
            "OTEL_EXPORTER_OTLP_ENDPOINT": spans.url,
        }
        if request.param == "sqlite":
            environment |= secured(directory, environment)
            with running_station(directory, environment=environment) as station:
                exercise(station, traces, environment)
                gather(station, traces, spans)
                back_up(directory, traces)
            examine(directory, traces, environment)
            yield traces
            return
        with fresh_postgresql_database() as url:
            address = url.replace("postgres@", f"postgres:{traces.secrets['DATABASE_URL']}@")
            environment["DATABASE_URL"] = address
            environment |= secured(directory, environment)
            with running_station(directory, environment=environment) as station:
                exercise(station, traces, environment)
                gather(station, traces, spans)
            dumped = subprocess.run(["pg_dump", url], capture_output=True, check=True, timeout=60)
            traces.places["pg_dump"] = dumped.stdout
            examine(directory, traces, environment)
            yield traces


def secured(directory: Path, environment: dict[str, str]) -> dict[str, str]:
    """Give the station a TLS port, and with that a certificate authority."""
    return tls_settings(issue(directory, "server", "127.0.0.1", **environment), free_port())


def examine(directory: Path, traces: Traces, environment: dict[str, str]) -> None:
    doctor = run_command("doctor", data_dir=directory, **environment)
    traces.places["doctor"] = (doctor.stdout + doctor.stderr).encode()
    assert b"Opens, valid until" in traces.places["doctor"]


def exercise(station: StationProcess, traces: Traces, environment: dict[str, str]) -> None:
    """Use each kind of secret rightly and wrongly, over every door."""
    client = Recording(station.url, traces)
    with client:
        use_passwords(client, traces)
        use_tokens(client, traces)
        use_keys(client, traces, station)
        use_sockets(client, traces, station)
        use_certificates(client, traces, station, environment)


def use_passwords(client: Recording, traces: Traces) -> None:
    http, email = client.http, client.email
    password, later = traces.plant("password"), traces.plant("next password")
    wrong, secret = traces.plant("wrong password"), traces.plant("client secret")
    form: dict[str, Any] = {"email": email, "password": password}
    expect(http.post("/api/v1/auth/register", json=form), 201)
    expect(http.post("/api/v1/auth/register", json=form), 409)
    expect(http.post("/api/v1/auth/register", json={**form, "password": wrong * 9}), 422)
    expect(http.post("/api/v1/auth/register", json={**form, "passwort": wrong}), 422)
    expect(http.post("/api/v1/auth/register", json={**form, "password": [wrong]}), 422)
    expect(http.post("/api/v1/auth/register", content=f'{{"password": "{wrong}'), 400)
    expect(http.post("/api/v1/auth/login", json={**form, "password": wrong}), 401)
    expect(http.post("/api/v1/auth/login", json={"email": wrong, "password": wrong}), 401)
    oauth = {"username": email, "password": password, "client_secret": secret}
    expect(http.post("/token", data=oauth), 200)
    expect(http.post("/token", data={**oauth, "password": wrong, "scope": "x"}), 422)
    expect(http.get("/api/v1/auth/me", auth=(email, password)), 401)
    signed_in = expect(http.post("/api/v1/auth/login", json=form), 200)
    client.token = signed_in["access_token"]
    traces.plant("refresh token", signed_in["refresh_token"])
    http.headers["Authorization"] = f"Bearer {client.token}"
    change = {"current_password": password, "new_password": later}
    expect(http.post("/api/v1/auth/password/change", json={**change, "x": later}), 422)
    expect(http.post("/api/v1/auth/password/change", json=change), 204)
    member = {"email": f"m-{uuid4().hex}@example.org", "role": "viewer"}
    headers = {"Idempotency-Key": uuid4().hex}
    made = expect(http.post("/api/v1/users", json=member, headers=headers), 201)
    traces.plant("password made up", made["password"])
    traces.plant("member's password")
    path = f"/api/v1/users/{made['id']}"
    expect(http.patch(path, json={"password": traces.secrets["member's password"]}), 200)


def use_tokens(client: Recording, traces: Traces) -> None:
    http, refresh = client.http, traces.secrets["refresh token"]
    token = traces.plant("access token", client.token)
    tampered = f"{token[:-40]}{uuid4().hex}AAAAAAAA"
    traces.plant("tampered token", tampered)
    expect(http.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {tampered}"}), 401)
    expect(http.get(f"/api/v1/devices/x?token={token}&access_token={tampered}"), 404)
    expect(http.get("/api/v1/auth/me", headers={"Authorization": f"Token {token}"}), 401)
    with httpx2.Client(base_url=client.url, cookies={"session": token}) as browser:
        expect(browser.get("/api/v1/auth/me"), 200)
        expect(browser.post("/api/v1/devices", json={"name": "x"}), 403)
    renewed = expect(http.post("/api/v1/auth/refresh", json={"refresh_token": refresh}), 200)
    traces.plant("second refresh token", renewed["refresh_token"])
    traces.plant("second access token", renewed["access_token"])
    expect(http.post("/api/v1/auth/refresh", json={"refresh_token": refresh, "x": 1}), 422)
    metrics = {"Authorization": f"Bearer {traces.secrets['METRICS_TOKEN']}", **ELSEWHERE}
    expect_text(http.get("/metrics", headers=metrics))
    wrong = {"Authorization": f"Bearer {traces.plant('wrong metrics token')}", **ELSEWHERE}
    expect(http.get("/metrics", headers=wrong), 401)


def expect_text(answer: httpx2.Response) -> None:
    assert answer.status_code == 200, answer.text


def use_keys(client: Recording, traces: Traces, station: StationProcess) -> None:
    http, headers = client.http, {"Idempotency-Key": uuid4().hex}
    for _ in range(2):  # the second time it comes from what was kept for the first
        made = expect(http.post("/api/v1/devices", json={"name": "x"}, headers=headers), 201)
        traces.secrets.setdefault("device key", made["api_key"])
    device_id, key = made["id"], traces.secrets["device key"]
    scopes = ["telemetry:read", "telemetry:write"]
    user_key = client.issue_user_key(*scopes)
    traces.plant("user key", user_key)
    path = f"/api/v1/devices/{device_id}/readings"
    for token in (key, user_key):
        bearer = {"Authorization": f"Bearer {token}"}
        expect(http.post(path, json={"sensor_type": "t", "value": 1}, headers=bearer), 201)
        expect(http.post(path, json={"sensor_type": "t"}, headers=bearer), 422)
        expect(http.post(path, content=b"{", headers=bearer), 400)
    unknown = "fsd_" + traces.plant("unknown key")
    expect(http.get(path, headers={"Authorization": f"Bearer {unknown}"}), 401)
    for version in (4, 5):
        for user, password in ((device_id, key), (client.email, user_key)):
            with MqttClient(station.mqtt_port, user, password, version=version) as mqtt:
                mqtt.publish("sensors/t/s", {"value": 1})
                mqtt.publish("sensors/t/s", "no reading")
        for password in (unknown, traces.secrets["password"], client.token):
            with MqttClient(station.mqtt_port, client.email, password, version=version) as mqtt:
                assert mqtt.refused is not None


def use_sockets(client: Recording, traces: Traces, station: StationProcess) -> None:
    ticket = expect(client.http.post("/api/v1/auth/ws-ticket"), 200)["ticket"]
    traces.plant("ticket", ticket)
    token, key = client.token, traces.secrets["device key"]
    with live(station.url, query=[("ticket", ticket)]) as socket:
        assert socket.ping()["type"] == "pong"
    with live(station.url, query=[("token", token)]) as socket:
        assert socket.ping()["type"] == "pong"
    with live(station.url, subprotocols=["bearer", token]) as socket:
        assert socket.ping()["type"] == "pong"
    wrong = traces.plant("wrong ticket")
    for query in ([("ticket", ticket)], [("ticket", wrong)], [("token", key)], [("token", wrong)]):
        with live(station.url, query=query) as socket:
            code, reason = socket.wait_until_closed()
        traces.places[f"close of {query[0][0]} ({len(traces.places)})"] = reason.encode()
        assert code == 1008


def use_certificates(
    client: Recording, traces: Traces, station: StationProcess, environment: dict[str, str]
) -> None:
    kept = kept_authority(station.data_dir, **environment)
    assert kept is not None
    assert kept.pair is not None
    traces.plant_key("authority's key", kept.pair.key)
    device = client.register_device()
    certificate = issue(station.data_dir, "issue", device.id)
    traces.plant_key("certificate's key", certificate.with_suffix(".key").read_text())
    in_der = ssl.PEM_cert_to_DER_cert(certificate.read_text())
    token = traces.plant("what the certificate stands for", Authority(kept.pair).token_of(in_der))
    port, trusts = int(environment["MQTT_TLS_PORT"]), certificate.with_name("authority.pem")
    for shown, key, code in (
        (certificate, None, 0),
        (None, token, 0),
        (None, None, 0x86),
        (None, traces.plant("unknown key over TLS"), 0x86),
    ):
        with SecureClient(port, trusts, shown, key=key) as mqtt:
            assert mqtt.codes == [code]
    reading, bearer = {"sensor_type": "t", "value": 1}, {"Authorization": f"Bearer {token}"}
    expect(client.http.post(device.readings_path, json=reading, headers=bearer), 201)
    refused = run_command("cert", "issue", "nobody", data_dir=station.data_dir)
    traces.places["cert"] = (refused.stdout + refused.stderr).encode()


def gather(station: StationProcess, traces: Traces, spans: Collector) -> None:
    """Take everything that the running station left, then its log to the end."""
    for path in ("/metrics", "/api/status", "/health"):
        traces.places[path] = httpx2.get(f"{station.url}{path}").content
    wait_until_blocking(lambda: len(spans.spans()) > 20)
    traces.places |= files_of(station.data_dir)
    assert station.stop() == 0
    traces.places |= {f"{name}, stopped": part for name, part in files_of(station.data_dir).items()}
    traces.places["log"] = station.output().encode()
    traces.places["spans"] = b"".join(part.SerializeToString() for part in spans.requests)


def files_of(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def back_up(directory: Path, traces: Traces) -> None:
    made = run_command(
        "backup", "create", "--output", directory.parent / "backups", data_dir=directory
    )
    assert made.returncode == 0, made.stderr
    copied = files_of(directory.parent / "backups")
    assert any("station.db" in name for name in copied)
    traces.places |= {f"backup {name}": content for name, content in copied.items()}


def test_no_planted_secret_is_found_anywhere(traces: Traces) -> None:
    assert len(traces.secrets) >= 20
    assert traces.found() == []


def test_the_search_does_find_what_is_there(traces: Traces) -> None:
    """What stands for the secrets is there: digests of keys, Argon2 of passwords."""
    stored = b"".join(
        content
        for place, content in traces.places.items()
        if "station.db" in place or place == "pg_dump"
    )
    log = traces.places["log"]
    assert b"$argon2id$" in stored
    assert b"gAAAA" in stored  # so begins what is sealed
    for name in ("device key", "user key", "refresh token", "second refresh token"):
        assert hashlib.sha256(traces.secrets[name].encode()).hexdigest().encode() in stored, name
        assert hashlib.sha256(traces.secrets[name].encode()).hexdigest() not in str(log), name
    assert b'"event": "request"' in log
    assert b"$argon2id$" not in log


def test_an_address_that_cannot_be_reached_is_not_repeated(tmp_path: Path) -> None:
    secret = planted("database")
    for url in (f"postgresql://ada:{secret}@127.0.0.1:9/x", f"postgresql://ada:{secret}@/::bad"):
        started = run_command(
            "serve", "--port", "0", "--mqtt-port", "0", data_dir=tmp_path / "d", DATABASE_URL=url
        )
        assert started.returncode != 0
        assert secret not in started.stdout + started.stderr
