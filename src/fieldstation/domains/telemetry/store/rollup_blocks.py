"""Blocks: partial results of one series for the hours of a day, or for 32 days, in one row.

The bytes of ``data`` are one byte for the form, then, deflated, a matrix with a line per slot that
holds readings and 12 numbers of 8 bytes a line, stored byte by byte: the slot's number in the
block, then the columns of ``Partials`` from ``count`` on; instants count from the block's
beginning.
"""

import zlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from fieldstation.domains.telemetry.store.dialect import US_PER_HOUR
from fieldstation.domains.telemetry.store.partials import INTEGERS, NAMES, Partials
from fieldstation.domains.telemetry.store.points import Integers, runs

FORM = 1
HOUR, DAY = 1, 24
"""The two widths of a slot, in hours."""
SLOTS = {HOUR: 24, DAY: 32}
STORED = NAMES[2:]
WORDS = 1 + len(STORED)
INSTANTS = [at for at, name in enumerate(STORED, 1) if name in INTEGERS and name != "count"]


class BlockKey(NamedTuple):
    """Which block of a series: of slots of so many hours, and its number since the epoch."""

    series_id: int
    hours: int
    number: int


def block_us(hours: int) -> int:
    """Return how long a block with slots of this width is."""
    return SLOTS[hours] * hours * US_PER_HOUR


def pack_blocks(partials: Partials, hours: int) -> Iterator[tuple[BlockKey, bytes]]:
    """Cut lines ordered by series and start into blocks."""
    width_us = block_us(hours)
    numbers = partials.start_us // width_us
    matrix = np.empty((len(partials), WORDS), np.int64)
    matrix[:, 0] = (partials.start_us - numbers * width_us) // (hours * US_PER_HOUR)
    for at, name in enumerate(STORED, 1):
        matrix[:, at] = getattr(partials, name).view(np.int64)
    matrix[:, INSTANTS] -= (numbers * width_us)[:, None]
    bounds = runs(partials.series_id, numbers).tolist()
    for low, high in pairwise(bounds):
        key = BlockKey(int(partials.series_id[low]), hours, int(numbers[low]))
        yield key, pack_matrix(matrix[low:high])


def pack_matrix(matrix: Integers) -> bytes:
    planes = matrix.astype("<i8").view(np.uint8).reshape(len(matrix), 8 * WORDS).T
    return bytes((FORM,)) + zlib.compress(planes.tobytes())


EMPTY = pack_matrix(np.empty((0, WORDS), np.int64))


def unpack_blocks(blocks: Sequence[tuple[BlockKey, bytes]], hours: int) -> Partials:
    """Return the lines of blocks of one width, in the order given."""
    matrices = [unpack_matrix(data) for _, data in blocks]
    lines = [len(matrix) for matrix in matrices]
    matrix = np.concatenate([np.empty((0, WORDS), np.int64), *matrices])
    series_id = np.repeat(np.array([key.series_id for key, _ in blocks], np.int64), lines)
    numbers = np.repeat(np.array([key.number for key, _ in blocks], np.int64), lines)
    begins = numbers * block_us(hours)
    matrix[:, INSTANTS] += begins[:, None]
    columns = np.ascontiguousarray(matrix.T)
    return Partials(
        series_id,
        begins + columns[0] * (hours * US_PER_HOUR),
        *(
            column if name in INTEGERS else column.view(np.float64)
            for name, column in zip(STORED, columns[1:], strict=True)
        ),
    )


def unpack_matrix(data: bytes) -> Integers:
    """Return a line per slot; raise ``ValueError`` for another form."""
    if data[0] != FORM:
        raise ValueError(f"rollups of the unknown form {data[0]}")
    planes = np.frombuffer(zlib.decompress(data[1:]), np.uint8).reshape(8 * WORDS, -1)
    return planes.T.copy().view("<i8").astype(np.int64, copy=False)
