"""Appends, flushes and seals until it is killed, and prints each batch's number once committed.

Run as ``python -m tests.contracts.seal_forever <database url> <first number>``.
"""

import asyncio
import sys

from tests.contracts.append_forever import batch_number
from tests.contracts.reading_databases import ReadingDatabase
from tests.contracts.readings import columns, make_series
from tests.contracts.seals import SMALL_SLICES


async def seal_forever(url: str, number: int) -> None:
    database = ReadingDatabase(url.partition(":")[0], url)
    database.seal_limits = SMALL_SLICES
    store = await database.open()
    (series,) = await make_series(store, 1)

    async def seal() -> None:
        while True:
            await store.flush()
            while await store.seal_slice():
                pass
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        group.create_task(seal(), name="seal")
        while True:
            await store.append(columns(batch_number(number, series.id)))
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()
            number += 1


if __name__ == "__main__":
    asyncio.run(seal_forever(sys.argv[1], int(sys.argv[2])))
