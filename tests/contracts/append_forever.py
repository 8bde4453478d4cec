"""Appends until it is killed, and prints the number of each batch once it is committed.

Run as ``python -m tests.contracts.append_forever <database url> <first number>``.
"""

import asyncio
import sys

from tests.contracts.reading_databases import ReadingDatabase, async_url
from tests.contracts.readings import NOON_US, SECOND_US, Given, columns, make_series

READINGS_PER_BATCH = 40


def batch_number(number: int, series_id: int) -> list[Given]:
    """Return the readings of one batch; every tenth has metadata."""
    return [
        Given(
            series_id,
            NOON_US + (number * READINGS_PER_BATCH + at) * SECOND_US,
            number + at / 7,
            metadata=b"{}" if at % 10 == 0 else None,
        )
        for at in range(READINGS_PER_BATCH)
    ]


async def append_forever(url: str, number: int) -> None:
    store = await ReadingDatabase(async_url(url).get_backend_name(), url).open()
    (series,) = await make_series(store, 1)
    while True:
        await store.append(columns(batch_number(number, series.id)))
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()
        number += 1


if __name__ == "__main__":
    asyncio.run(append_forever(sys.argv[1], int(sys.argv[2])))
