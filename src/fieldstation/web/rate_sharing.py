"""Keeps this node's counts and those of the others together, behind the back of every request."""

import structlog

from fieldstation.core.errors import Busy
from fieldstation.web.rate_counters import RateCounters, SharedCounts

log = structlog.get_logger(__name__)

COUNTS_PER_EXCHANGE_MAX = 1_000


class RateSharing:
    """Exchanges counts when asked; while the others cannot be reached, this node counts alone."""

    def __init__(self, counters: RateCounters, shared: SharedCounts | None) -> None:
        self._counters = counters
        self._shared = shared
        self.reachable = shared is not None
        counters.sharing = shared is not None

    @property
    def status(self) -> tuple[str, str]:
        """Return the status and where the counts are, for the health page."""
        if self._shared is None:
            return "ok", "memory"
        return ("ok", self._shared.kind) if self.reachable else ("degraded", "memory")

    @property
    def shares_as_told(self) -> bool:
        """Whether counts are where the settings want them."""
        return self._shared is None or self.reachable

    async def exchange(self) -> None:
        """Share what is new; raises nothing, and loses nothing of the running windows."""
        if self._shared is None:
            return
        while True:
            counts = self._counters.take_unshared(COUNTS_PER_EXCHANGE_MAX)
            try:
                totals = await self._shared.add(counts)
            except Busy as error:
                self._counters.give_back(counts)
                self._note(reachable=False, reason=error.detail)
                return
            self._note(reachable=True)
            self._counters.learn(dict(zip(counts, totals, strict=True)))
            if len(counts) < COUNTS_PER_EXCHANGE_MAX:
                return

    async def close(self) -> None:
        if self._shared is not None:
            await self._shared.close()

    def _note(self, *, reachable: bool, reason: str | None = None) -> None:
        if reachable != self.reachable:
            write = log.info if reachable else log.warning
            write("rate_limits_shared" if reachable else "rate_limits_alone", reason=reason)
        self.reachable = reachable
