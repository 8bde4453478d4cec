"""Writes readings into a file as the store hands them out: one block in memory at a time."""

import asyncio
import errno
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

from fieldstation.domains.exports.errors import disk_full
from fieldstation.domains.exports.formats import open_encoder
from fieldstation.domains.exports.ports import Encoder
from fieldstation.domains.exports.schemas import Selection
from fieldstation.domains.telemetry.ports import Columns, ReadingStore, SeriesRow

BLOCK_READINGS = 20_000
PIECE_BYTES = 64 * 1024
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

Result = TypeVar("Result")
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
    with EncoderThread() as thread:
        encoder = await thread.open(selection, work_dir)
        async with aclosing(blocks):
            for piece in pieces(encoder.begin()):
                yield piece
            async for block in blocks:
                note(block)
                for piece in pieces(await thread.run(encoder.add, block, rows)):
                    yield piece
        while rest := await thread.run(encoder.end):
            for piece in pieces(rest):
                yield piece


class EncoderThread:
    """Does one thing of an encoder after the other, also when nobody waits for it any more."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="export")
        self._encoder: Encoder | None = None

    def __enter__(self) -> "EncoderThread":
        return self

    def __exit__(self, *_error: object) -> None:
        if self._encoder is not None:
            self._executor.submit(self._encoder.close)
        self._executor.shutdown(wait=False)

    async def open(self, selection: Selection, work_dir: Path) -> Encoder:
        self._encoder = await self.run(partial(open_encoder, work_dir=work_dir), selection)
        return self._encoder

    async def run(self, work: Callable[..., Result], *given: Any) -> Result:
        """Do something. Raises ``Busy`` when a temporary file has no room."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._executor, work, *given)
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise disk_full() from error


def pieces(data: bytes) -> Sequence[bytes]:
    return [data[at : at + PIECE_BYTES] for at in range(0, len(data), PIECE_BYTES)]
