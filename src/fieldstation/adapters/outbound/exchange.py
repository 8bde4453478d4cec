"""Carries one request to another host, redirects included, and its answer back."""

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx2

from fieldstation.adapters.outbound.addresses import Network, is_odd_number
from fieldstation.adapters.outbound.client import OutboundAnswer, OutboundLimits, Resolve
from fieldstation.adapters.outbound.connections import (
    SystemLookups,
    VettedConnections,
    VettedTransport,
)
from fieldstation.adapters.outbound.errors import HostUnreachable, OutboundRefused

SCHEMES = frozenset({"http", "https"})
WEB_PORTS = frozenset({None, 80, 443})
OTHER_PORTS_FROM = 1024


class Exchange:
    """What ``Outbound`` does, with the HTTP client loaded."""

    def __init__(
        self,
        allowed: Sequence[Network],
        limits: OutboundLimits,
        *,
        resolve: Resolve | None,
        tls: ssl.SSLContext | None,
    ) -> None:
        connections = VettedConnections(allowed, resolve or SystemLookups())
        self._limits = limits
        self._client = httpx2.AsyncClient(
            transport=VettedTransport(connections, tls),
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            timeout=limits.total_s,
            trust_env=False,
        )

    async def fetch(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        content: bytes | None,
        redirects_max: int,
    ) -> OutboundAnswer:
        """Do what ``Outbound.fetch`` says."""
        try:
            async with asyncio.timeout(self._limits.total_s):
                request = self._client.build_request(method, url, headers=headers, content=content)
                while True:
                    check_url(request.url)
                    response = await self._client.send(request, stream=True)
                    try:
                        following = response.next_request
                        if following is None or redirects_max == 0:
                            return await self._read(response)
                    finally:
                        await response.aclose()
                    redirects_max -= 1
                    request = redirected(request, following, own=headers)
        except httpx2.InvalidURL as error:
            raise OutboundRefused("This is not a URL of another host.") from error
        except TimeoutError as error:
            raise HostUnreachable("The host took too long to answer.") from error
        except httpx2.HTTPError as error:
            raise HostUnreachable("The host did not answer as a web server does.") from error

    async def _read(self, response: httpx2.Response) -> OutboundAnswer:
        content = bytearray()
        async for part in response.aiter_bytes():
            content += part
            if max(len(content), response.num_bytes_downloaded) > self._limits.answer_bytes_max:
                raise HostUnreachable("The host answered more than the station reads.")
            await asyncio.sleep(0)  # parts are as small as the host likes; others run in between
        return OutboundAnswer(response.status_code, response.headers, bytes(content))


def check_url(url: httpx2.URL) -> None:
    """Return if the station may ask a URL at all; its address is vetted when it connects.

    Raises ``OutboundRefused``.
    """
    if url.scheme not in SCHEMES or not url.host:
        raise OutboundRefused("Use a URL that begins with https:// or http:// and names a host.")
    if url.userinfo:
        raise OutboundRefused("The URL must not hold a user name or a password.")
    if url.port not in WEB_PORTS and not OTHER_PORTS_FROM <= (url.port or 0) <= 65_535:
        raise OutboundRefused("Use port 80, 443 or one from 1024 on.")
    if is_odd_number(url.host):
        raise OutboundRefused("Write the address as four decimal numbers.")


def redirected(
    request: httpx2.Request, following: httpx2.Request, *, own: Mapping[str, str]
) -> httpx2.Request:
    """Return the request that follows a redirect. Raises ``OutboundRefused`` if TLS would end."""
    if request.url.scheme == "https" and following.url.scheme != "https":
        raise OutboundRefused("The host leads from https:// to http://.")
    if following.url.origin != request.url.origin:
        for name in own:
            following.headers.pop(name, None)
    return following
