"""Asks hosts that somebody else named: webhooks, weather services, registries."""

import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from fieldstation.adapters.outbound.addresses import Network

if TYPE_CHECKING:
    from fieldstation.adapters.outbound.exchange import Exchange

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


@dataclass(frozen=True, slots=True)
class OutboundLimits:
    """What one request may cost, redirects included."""

    total_s: float = 10.0
    answer_bytes_max: int = 1024 * 1024


@dataclass(frozen=True, slots=True)
class OutboundAnswer:
    """What a host answered, inflated."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class Outbound:
    """Sends requests to public hosts, and to networks that the operator allowed.

    It knows no proxy and no credentials of the environment, keeps no cookie and no connection.
    """

    def __init__(
        self,
        allowed: Sequence[Network] = (),
        *,
        limits: OutboundLimits | None = None,
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._allowed = allowed
        self._limits = limits or OutboundLimits()
        self._resolve = resolve
        self._tls = tls

    async def fetch(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        redirects_max: int = 0,
    ) -> OutboundAnswer:
        """Send one request and read the whole answer.

        Up to ``redirects_max`` redirects are followed, each vetted like the first URL; to another
        origin none of ``headers`` goes along. Raises ``OutboundRefused`` or ``HostUnreachable``.
        """
        return await self._exchange.fetch(
            method, url, headers=headers or {}, content=content, redirects_max=redirects_max
        )

    @cached_property
    def _exchange(self) -> "Exchange":
        """Made on first use: it loads an HTTP client, which most stations never need."""
        from fieldstation.adapters.outbound.exchange import Exchange  # noqa: PLC0415 - see above

        return Exchange(self._allowed, self._limits, resolve=self._resolve, tls=self._tls)
