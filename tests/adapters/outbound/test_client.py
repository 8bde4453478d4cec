"""Whoever names a host leads the station to no other place, and costs it no more than allowed."""

import gzip
import ssl
from collections.abc import Sequence
from ipaddress import ip_network
from pathlib import Path
from time import monotonic

import pytest

from fieldstation.adapters.outbound.addresses import Network
from fieldstation.adapters.outbound.client import Outbound, OutboundLimits, Resolve
from fieldstation.adapters.outbound.errors import HostUnreachable, OutboundRefused
from fieldstation.core.settings import read_settings
from tests.adapters.outbound.hosts import Write, endless, host, resolving, silent, to, whole
from tests.agent.certificates import write_certificates

pytestmark = pytest.mark.anyio

LOOPBACK = (ip_network("127.0.0.0/8"),)
OK = whole("200 OK", content=b"hello")
TIME_S = 0.5
PATIENT_S = 20.0
BYTES = 10_000


def outbound(
    *,
    allowed: Sequence[Network] = LOOPBACK,
    resolve: Resolve | None = None,
    tls: ssl.SSLContext | None = None,
    total_s: float = PATIENT_S,
) -> Outbound:
    limits = OutboundLimits(total_s=total_s, answer_bytes_max=BYTES)
    return Outbound(allowed, limits=limits, resolve=resolve, tls=tls)


def tls_contexts(directory: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return what a server named hooks.example and a client that trusts its authority need."""
    files = write_certificates(directory / "tls", host="hooks.example")
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(files / "station.pem", files / "station.key")
    return server, ssl.create_default_context(cafile=files / "authority.pem")


@pytest.mark.parametrize(
    "name",
    [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "0.0.0.0",  # noqa: S104 - to connect to
        "0",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "127.0.0.1.",
        "%31%32%37.0.0.1",
        "１２７.0.0.1",
        "127。0。0。1",
        "ⓛocalhost",
        "x" * 64 + ".example",
    ],
)
async def test_no_spelling_leads_to_this_computer(name: str) -> None:
    async with host(OK) as here:
        with pytest.raises((OutboundRefused, HostUnreachable)):
            await Outbound().fetch("GET", f"http://{name}:{here.port}/")
    assert here.heads == []


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org",
        "//example.org/",
        "/etc/passwd",
        "http://",
        "http:///etc/passwd",
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
        "gopher://127.0.0.1:6379/_PING",
        "unix:///run/docker.sock",
        "http://ada@127.0.0.1/",
        "http://ada:secret@127.0.0.1/",
        "http://127.0.0.1:22/",
        "http://127.0.0.1:25/",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:0/",
        "http://127.0.0.1:-1/",
        "http://127.0.0.1\r\nX: y/",
        "http://[::1",
    ],
)
async def test_what_is_no_plain_web_address_is_refused(url: str) -> None:
    with pytest.raises(OutboundRefused):
        await outbound().fetch("GET", url)


async def test_a_refusal_does_not_tell_where_a_name_leads() -> None:
    resolve, _ = resolving(["10.20.30.40"])
    with pytest.raises(OutboundRefused) as refused:
        await outbound(resolve=resolve).fetch("GET", "http://intranet.example/?token=abc")
    assert "intranet.example" in refused.value.detail
    assert "10.20.30.40" not in refused.value.detail
    assert "abc" not in refused.value.detail


async def test_an_allowed_host_gets_the_request_and_its_answer_is_read() -> None:
    allowed = read_settings({"OUTBOUND_ALLOW": "192.0.2.1, 127.0.0.1"}).outbound.allowed
    async with host(whole("201 Created", "X-Seen: yes", content=b"made")) as here:
        answer = await outbound(allowed=allowed).fetch(
            "POST", f"http://127.0.0.1:{here.port}/hook?a=1", headers={"X-Own": "1"}, content=b"{}"
        )
    assert (answer.status, answer.headers["x-seen"], answer.content) == (201, "yes", b"made")
    (head,) = here.heads
    assert head.startswith("POST /hook?a=1 HTTP/1.1\r\n")
    assert "X-Own: 1\r\n" in head


async def test_only_vetted_addresses_of_a_name_are_tried_each_in_turn() -> None:
    allowed = (ip_network("127.0.0.2/32"), ip_network("127.0.0.3/32"))
    resolve, asked = resolving(["127.0.0.1", "::1", "127.0.0.3", "127.0.0.2"])
    async with host(OK, address="127.0.0.2") as there, host(OK, port=there.port) as here:
        await outbound(allowed=allowed, resolve=resolve).fetch("GET", f"http://a.b:{there.port}/")
    assert (len(there.heads), here.heads) == (1, [])
    assert asked == ["a.b"]


async def test_a_name_that_changes_between_look_and_connection_gains_nothing() -> None:
    resolve, asked = resolving(["127.0.0.2"], ["127.0.0.1"])
    client = outbound(allowed=(ip_network("127.0.0.2/32"),), resolve=resolve)
    async with host(OK, address="127.0.0.2") as there, host(OK, port=there.port) as here:
        url = f"http://rebound.example:{there.port}/"
        assert (await client.fetch("GET", url)).content == b"hello"
        assert asked == ["rebound.example"]
        with pytest.raises(OutboundRefused):
            await client.fetch("GET", url)
    assert (len(there.heads), here.heads) == (1, [])


async def test_a_name_without_an_address_is_unreachable() -> None:
    resolve, _ = resolving([])
    with pytest.raises(HostUnreachable):
        await outbound(resolve=resolve).fetch("GET", "http://nowhere.example/")
    with pytest.raises(HostUnreachable):
        await outbound().fetch("GET", "http://nowhere.invalid/")


async def test_tls_is_checked_for_the_name_and_not_for_the_address(tmp_path: Path) -> None:
    server, trusting = tls_contexts(tmp_path)
    resolve, _ = resolving(["127.0.0.1"])
    async with host(OK, tls=server) as here:
        client = outbound(resolve=resolve, tls=trusting)
        answer = await client.fetch("GET", f"https://hooks.example:{here.port}/")
        assert answer.content == b"hello"
        for name, other in (("other.example", trusting), ("hooks.example", None)):
            with pytest.raises(HostUnreachable):
                await outbound(resolve=resolve, tls=other).fetch(
                    "GET", f"https://{name}:{here.port}/"
                )
    assert [f"Host: hooks.example:{here.port}" in head for head in here.heads] == [True]


async def test_a_redirect_is_an_answer_like_any_other_unless_asked_for() -> None:
    async with host(to("/further"), OK) as here:
        answer = await outbound().fetch("GET", f"http://127.0.0.1:{here.port}/")
        assert (answer.status, answer.headers["location"]) == (302, "/further")
    async with host(to("/further"), OK) as here:
        url = f"http://127.0.0.1:{here.port}/"
        answer = await outbound().fetch("POST", url, content=b"x", redirects_max=1)
        assert answer.content == b"hello"
    assert [head.partition(" HTTP")[0] for head in here.heads] == ["POST /", "GET /further"]


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1:{port}/",
        "//127.0.0.1:{port}/",
        "http://2130706433:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://ada:secret@127.0.0.2:{port}/",
        "http://127.0.0.2:22/",
        "file:///etc/passwd",
    ],
)
async def test_each_hop_is_vetted_like_the_first(location: str) -> None:
    client = outbound(allowed=(ip_network("127.0.0.2/32"),))
    async with host(OK) as here:
        first = to(location.format(port=here.port))
        async with host(first, address="127.0.0.2") as there:
            url = f"http://127.0.0.2:{there.port}/"
            with pytest.raises(OutboundRefused):
                await client.fetch("GET", url, redirects_max=3)
    assert here.heads == []


async def test_a_circle_ends() -> None:
    async with host(to("/")) as here:
        answer = await outbound().fetch("GET", f"http://127.0.0.1:{here.port}/", redirects_max=5)
    assert answer.status == 302
    assert len(here.heads) == 6


async def test_nothing_of_ones_own_goes_to_another_origin() -> None:
    own = {"Authorization": "Bearer x", "X-Api-Key": "y"}
    async with (
        host(OK, address="127.0.0.2") as there,
        host(to(f"http://127.0.0.2:{there.port}/")) as here,
    ):
        url = f"http://127.0.0.1:{here.port}/"
        await outbound().fetch("GET", url, headers=own, redirects_max=1)
    assert "X-Api-Key: y" in here.heads[0]
    assert not {"authorization", "x-api-key"} & {
        line.partition(":")[0].lower() for line in there.heads[0].splitlines()
    }


async def test_tls_does_not_end_on_the_way(tmp_path: Path) -> None:
    server, trusting = tls_contexts(tmp_path)
    resolve, _ = resolving(["127.0.0.1"])
    async with host(OK) as plain, host(to(f"http://x.example:{plain.port}/"), tls=server) as here:
        with pytest.raises(OutboundRefused):
            await outbound(resolve=resolve, tls=trusting).fetch(
                "GET", f"https://hooks.example:{here.port}/", redirects_max=1
            )
    assert plain.heads == []


BOMB = gzip.compress(bytes(50_000_000))
HEAD = "HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        silent(""),
        silent(HEAD),
        silent(HEAD + "Content-Length: 10\r\n\r\nabc"),
        endless(HEAD, b"X-More: x\r\n"),
        endless(HEAD + "Transfer-Encoding: chunked\r\n\r\n", b"5\r\nhello\r\n"),
        endless(HEAD + "Connection: close\r\n\r\n", b"x" * 1000),
        whole("200 OK", content=bytes(BYTES + 1)),
        whole("200 OK", "Content-Encoding: gzip", content=BOMB),
        whole("200 OK", "Content-Encoding: gzip, gzip", content=gzip.compress(BOMB)),
        whole("200 OK", "Content-Encoding: gzip", content=b"no gzip"),
        endless("SSH-2.0-x\r\n", b"\x00"),
        endless("HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
)
async def test_a_host_that_answers_badly_costs_a_moment_and_little_memory(answer: Write) -> None:
    async with host(answer) as here:
        began = monotonic()
        with pytest.raises(HostUnreachable):
            await outbound(total_s=TIME_S).fetch("GET", f"http://127.0.0.1:{here.port}/")
    assert monotonic() - began < PATIENT_S / 2


async def test_a_compressed_answer_within_the_limit_is_inflated() -> None:
    packed = gzip.compress(b"a" * BYTES)
    async with host(whole("200 OK", "Content-Encoding: gzip", content=packed)) as here:
        answer = await outbound().fetch("GET", f"http://127.0.0.1:{here.port}/")
    assert answer.content == b"a" * BYTES


async def test_the_environment_s_proxy_and_the_last_answer_s_cookie_are_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    client = outbound()
    async with host(whole("200 OK", "Set-Cookie: a=b; Path=/")) as here:
        for _ in range(2):
            await client.fetch("GET", f"http://127.0.0.1:{here.port}/")
    assert len(here.heads) == 2
    assert "cookie" not in here.heads[1].lower()
