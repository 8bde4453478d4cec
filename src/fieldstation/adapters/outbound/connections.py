"""Opens connections to vetted addresses only: what was looked up is what is connected to."""

import asyncio
import socket
import ssl
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import cast

import httpcore2
import httpx2

from fieldstation.adapters.outbound.addresses import Network, may_connect
from fieldstation.adapters.outbound.client import Resolve
from fieldstation.adapters.outbound.errors import OutboundRefused

CONNECTIONS_MAX = 50
LOOKUPS_MAX = 4


class SystemLookups:
    """Asks the system, in threads of its own: a slow name server holds up nothing else."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(LOOKUPS_MAX, thread_name_prefix="look-up")

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """Return the addresses of a name. Raises ``OSError``."""
        ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class VettedConnections(httpcore2.AsyncNetworkBackend):
    """Looks a name up once, vets each address and connects to one that passed."""

    def __init__(self, allowed: Sequence[Network], resolve: Resolve) -> None:
        self._allowed = tuple(allowed)
        self._resolve = resolve
        self._network = cast(httpcore2.AsyncNetworkBackend, httpcore2.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the library's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        failure: Exception = httpcore2.ConnectError("The name has no address.")
        for address in await self._vetted(host, port):
            try:
                return await self._network.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure

    async def _vetted(self, host: str, port: int) -> list[str]:
        """Return the addresses to try. What they are is not told: names may be of our network."""
        try:
            found = await self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore2.ConnectError("The name is not known.") from error
        vetted = [address for address in found if may_connect(address, self._allowed)]
        if found and not vetted:
            raise OutboundRefused(
                f"{host[:100]} does not lead to a public address; "
                "the operator may allow its network with OUTBOUND_ALLOW."
            )
        return vetted


class VettedTransport(httpx2.AsyncHTTPTransport):
    """HTTP over vetted connections, each for one request; names stay in Host and in TLS."""

    def __init__(self, connections: VettedConnections, tls: ssl.SSLContext | None) -> None:
        context = tls or httpx2.create_ssl_context(trust_env=False)
        super().__init__(verify=context, trust_env=False)
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=context,
            max_connections=CONNECTIONS_MAX,
            max_keepalive_connections=0,
            network_backend=connections,
        )
