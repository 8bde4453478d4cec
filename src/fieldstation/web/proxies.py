"""Who is really calling: the client's address and scheme behind the configured proxies."""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from starlette.types import Scope

Network = IPv4Network | IPv6Network
FORWARDED_FOR = b"x-forwarded-for"
FORWARDED_PROTO = b"x-forwarded-proto"
SECURE = {"http": "https", "ws": "wss"}
ADDRESSES_REMEMBERED = 4096
IPV6_SITE_BITS = 64


class TrustedProxies:
    """Believes ``X-Forwarded-For`` and ``X-Forwarded-Proto``, but only from these networks."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self.networks = tuple(networks)
        self.trusts = lru_cache(maxsize=ADDRESSES_REMEMBERED)(self._trusts)

    def unwrap(self, scope: Scope) -> None:
        """Put the client that a trusted proxy names, and its scheme, into the scope.

        Everything behind this reads ``scope["client"]`` and ``scope["scheme"]``, nothing else.
        """
        peer = scope.get("client")
        if not self.networks or peer is None or not self.trusts(peer[0]):
            return
        hops: list[str] = []
        for name, value in scope["headers"]:
            if name == FORWARDED_FOR:
                hops.extend(part.strip() for part in value.decode("latin-1").split(","))
            elif name == FORWARDED_PROTO and first_of(value) in {b"https", b"wss"}:
                scope["scheme"] = SECURE.get(scope["scheme"], scope["scheme"])
        client = self.client_behind(hops)
        if client is not None:
            scope["client"] = (client, 0)

    def client_behind(self, hops: Sequence[str]) -> str | None:
        """Return the last hop that is not a proxy of ours: what is left of it anybody may write."""
        found = None
        for hop in reversed(hops):
            address = parse_address(hop)
            if address is None:
                return found
            found = str(address)
            if not self.trusts(found):
                return found
        return found

    def _trusts(self, host: str) -> bool:
        address = parse_address(host)
        return address is not None and any(address in network for network in self.networks)


def first_of(value: bytes) -> bytes:
    """Return what the outermost of several proxies wrote."""
    return value.partition(b",")[0].strip().lower()


@lru_cache(maxsize=ADDRESSES_REMEMBERED)
def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """Read an address, also with a port or in brackets; IPv4 inside IPv6 counts as IPv4."""
    host = text.partition("]")[0].lstrip("[") if text.startswith("[") else text
    if host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        address = ip_address(host)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


@lru_cache(maxsize=ADDRESSES_REMEMBERED)
def counted_address(host: str) -> str:
    """Return what limits count a client by: its address, of IPv6 the network that is one site."""
    address = parse_address(host)
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, IPV6_SITE_BITS), strict=False))
    return host if address is None else str(address)
