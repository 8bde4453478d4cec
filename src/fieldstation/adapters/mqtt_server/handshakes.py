"""How many TLS handshakes run at a time, so that silent clients of one address keep out nobody."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary


class Handshakes:
    """Gives every address a few places; more of its clients wait, each in its own task."""

    def __init__(self, *, per_address_max: int, wait_s: float) -> None:
        self._per_address_max = per_address_max
        self._wait_s = wait_s
        self._places: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def place(self, address: str) -> AsyncIterator[None]:
        """Hold a place of this address. Raises ``TimeoutError`` when none becomes free in time."""
        places = self._places.get(address)
        if places is None:
            places = self._places[address] = asyncio.Semaphore(self._per_address_max)
        async with asyncio.timeout(self._wait_s):
            await places.acquire()
        try:
            yield
        finally:
            places.release()
