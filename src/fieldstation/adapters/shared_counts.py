"""Rate counts that all nodes add up in Redis (the extra ``redis``)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fieldstation.core.errors import Busy
from fieldstation.core.settings import Settings, SettingsError
from fieldstation.web.rate_counters import Count, SharedCounts

if TYPE_CHECKING:
    from redis.asyncio import Redis

TIMEOUT_S = 1.0
WINDOWS_KEPT = 2


def shared_counts(settings: Settings) -> SharedCounts | None:
    """Return where nodes add up their counts, or None for a node alone."""
    limits = settings.limits
    if not limits.enabled or limits.storage_url is None:
        return None
    return RedisCounts(limits.storage_url, prefix=settings.redis.prefix)


class RedisCounts:
    """Adds a batch of counts in one round trip; each window's key expires by itself."""

    kind = "redis"

    def __init__(self, url: str, *, prefix: str) -> None:
        self._prefix = f"{prefix}:rate"
        redis = load_redis()
        self._errors: tuple[type[BaseException], ...] = (redis.RedisError, OSError, TimeoutError)
        try:
            self._client: Redis = redis.asyncio.from_url(
                url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S
            )
        except ValueError as error:
            raise SettingsError(f"REDIS_URL cannot be used: {error}") from error

    async def add(self, counts: list[Count]) -> list[int]:
        """Add each and return its total over all nodes. Raises ``Busy``."""
        try:
            async with self._client.pipeline(transaction=False) as batch:
                batch.ping()
                for count in counts:
                    key, window_s = count.key, count.window_s
                    name = ":".join((self._prefix, *key, str(window_s), str(count.window)))
                    batch.incrby(name, count.added)
                    batch.expire(name, window_s * WINDOWS_KEPT)
                answers = await batch.execute()
        except self._errors as error:
            raise Busy("Redis is away.") from error
        return [int(total) for total in answers[1::2]]

    async def close(self) -> None:
        await self._client.aclose()


def load_redis() -> Any:
    """Import the client. Raises ``SettingsError`` naming the extra."""
    try:
        import_module("redis.asyncio")
        return import_module("redis")
    except ImportError as error:
        raise SettingsError("Redis needs the extra: pip install 'fieldstation[redis]'") from error
