"""No address of our own networks passes, in whatever spelling; public ones do."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstation.adapters.outbound.addresses import NOT_PUBLIC, is_odd_number, may_connect

OURS = st.sampled_from(NOT_PUBLIC).flatmap(
    lambda network: st.integers(int(network.network_address), int(network.broadcast_address)).map(
        IPv4Address
    )
)


@given(OURS)
def test_own_addresses_never_pass_nor_do_their_ipv6_forms(address: IPv4Address) -> None:
    number = int(address)
    assert not may_connect(str(address), ())
    for form in (
        IPv6Address(0xFFFF << 32 | number),  # mapped
        IPv6Address(number),  # compatible
        IPv6Address(0x64_FF9B << 96 | number),  # NAT64
        IPv6Address(0x2002 << 112 | number << 80),  # 6to4
        IPv6Address(0x2001 << 112 | number),  # Teredo
    ):
        assert not may_connect(str(form), ())


@given(st.ip_addresses(v=4) | st.ip_addresses(v=6))
def test_whatever_passes_is_public(address: IPv4Address | IPv6Address) -> None:
    if may_connect(str(address), ()):
        seen = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        public = seen or address
        assert not public.is_multicast
        assert public.is_global or public in ip_network("64:ff9b::/96")


@pytest.mark.parametrize(
    "text",
    [
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fec0::1",
        "ff02::1",
        "100::1",
        "64:ff9b:1::7f00:1",
        "2001:db8::1",
        "5f00::1",
        "255.255.255.255",
        "169.254.169.254",
    ],
)
def test_special_addresses_do_not_pass(text: str) -> None:
    assert not may_connect(text, ())


@pytest.mark.parametrize(
    "text", ["1.1.1.1", "9.9.9.9", "172.32.0.1", "2606:4700::1111", "64:ff9b::101:101"]
)
def test_public_addresses_pass(text: str) -> None:
    assert may_connect(text, ())


@pytest.mark.parametrize("text", ["10.1.2.3", "::ffff:10.1.2.3", "fd12::7"])
def test_allowed_networks_pass_and_their_neighbours_do_not(text: str) -> None:
    allowed = (ip_network("10.1.2.0/24"), ip_network("fd12::/64"))
    assert may_connect(text, allowed)
    neighbour = "10.1.3.1" if "." in text else "fd12:0:0:1::7"
    assert ip_address(neighbour)
    assert not may_connect(neighbour, allowed)


@pytest.mark.parametrize(
    ("host", "odd"),
    [
        ("2130706433", True),
        ("0x7f000001", True),
        ("0x7F.1", True),
        ("127.1", True),
        ("0177.0.0.1", True),
        ("127.0.0.1.", True),
        ("010.0.0.1", True),
        ("example.0x", True),
        ("127.0.0.1", False),
        ("example.org", False),
        ("example.org.", False),
        ("1e100.net", False),
        ("::1", False),
    ],
)
def test_numbers_that_are_no_dotted_address_are_odd(host: str, odd: bool) -> None:
    assert is_odd_number(host) is odd
