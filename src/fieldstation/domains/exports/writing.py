"""Writes readings into a file as the store hands them out: one block in memory at a time."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import cast

from fieldstation.domains.exports.formats import open_encoder
from fieldstation.domains.exports.schemas import Selection
from fieldstation.domains.telemetry.ports import Columns, ReadingStore, SeriesRow

BLOCK_READINGS = 20_000
PIECE_BYTES = 64 * 1024

Note = Callable[[Columns], None]


def ignore_block(_block: Columns) -> None:
    """Note nothing."""


async def write_readings(
    store: ReadingStore,
    series: Sequence[SeriesRow],
    selection: Selection,
    *,
    work_dir: Path,
    note: Note = ignore_block,
    block_readings: int = BLOCK_READINGS,
) -> AsyncGenerator[bytes, None]:
    """Yield a whole file in pieces of at most ``PIECE_BYTES``, ordered by time, then by series.

    It holds every reading of the period that was acknowledged before it began; of those that come
    while it is written, the ones behind the place that it has reached. Each piece waits until the
    one before was taken; nothing is open in the database meanwhile. Closing the generator stops the
    query that runs. Raises ``Busy``, ``Invalid``.
    """
    rows = {row.id: row for row in series}
    # The port promises an iterator; every store's is a generator, which can be closed.
    blocks = cast(
        AsyncGenerator[Columns, None],
        store.stream(
            series,
            start_us=selection.start_us,
            end_us=selection.end_us,
            rows_max=block_readings,
        ),
    )
    # A thread of its own does one thing after the other, also when nobody waits any more.
    thread = ThreadPoolExecutor(1, thread_name_prefix="export")
    run = partial(asyncio.get_running_loop().run_in_executor, thread)
    try:
        encoder = await run(partial(open_encoder, selection, work_dir=work_dir))
    except BaseException:
        thread.shutdown(wait=False)
        raise
    try:
        async with aclosing(blocks):
            for piece in pieces(encoder.begin()):
                yield piece
            async for block in blocks:
                note(block)
                for piece in pieces(await run(encoder.add, block, rows)):
                    yield piece
        while rest := await run(encoder.end):
            for piece in pieces(rest):
                yield piece
    finally:
        thread.submit(encoder.close)
        thread.shutdown(wait=False)


def pieces(data: bytes) -> Sequence[bytes]:
    return [data[at : at + PIECE_BYTES] for at in range(0, len(data), PIECE_BYTES)]
