"""Tells public addresses from those of our own networks, however they are written.

Sources: IANA's special-purpose address registries for IPv4 and IPv6; RFC 6052 (NAT64).
"""

import re
from collections.abc import Sequence
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
)

Network = IPv4Network | IPv6Network

NOT_PUBLIC = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",
    )
)
PUBLIC_6 = IPv6Network("2000::/3")
# Protocol assignments (Teredo among them), documentation, 6to4.
NOT_PUBLIC_6 = tuple(
    IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
)
NAT64 = IPv6Network("64:ff9b::/96")
NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+", re.IGNORECASE)


def may_connect(text: str, allowed: Sequence[Network]) -> bool:
    """Whether an address is public, or in a network that the operator allowed."""
    address = without_wrapping(ip_address(text))
    if any(address.version == network.version and address in network for network in allowed):
        return True
    if isinstance(address, IPv4Address):
        return not any(address in network for network in NOT_PUBLIC)
    return address in PUBLIC_6 and not any(address in network for network in NOT_PUBLIC_6)


def without_wrapping(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address that an IPv6 address leads to, if it does."""
    if isinstance(address, IPv4Address):
        return address
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address


def is_odd_number(host: str) -> bool:
    """Whether a host is an IPv4 address in other than four decimal numbers (WHATWG URL, 3.5)."""
    if not NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
        return False
    try:
        IPv4Address(host)
    except AddressValueError:
        return True
    return False
