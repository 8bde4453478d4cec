"""Sketches: how often values fell into each of a fixed set of bins, so that any percentile can be
told within one percent of the value, and sketches of parts make that of the whole.

The bins are those of DDSketch (Masson, Rim and Lee, 2019): bin ``i`` holds the magnitudes in
``(γ^(i-1), γ^i]`` with ``γ = 1.01 / 0.99``. Bins are numbered in the order of the values: negative
values, 0, positive values.
"""

import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fieldstation.domains.telemetry.store.points import Floats, Integers, runs

ACCURACY = 0.01
LOG_GAMMA = float(np.log((1 + ACCURACY) / (1 - ACCURACY)))
# Behind the logarithm of every double, so that a bin's sign is that of its values.
BIN_OF_ONE = 40_000
FORM = 1
HEAD = np.dtype("<u4")
BINS = np.dtype("<i4")
COUNTS = np.dtype("<i8")


class Sketch(NamedTuple):
    """Bins in ascending order, each once, and how many values fell into each."""

    bins: Integers
    counts: Integers


def bins_of(values: Floats) -> Integers:
    """Return the bin of each value."""
    with np.errstate(divide="ignore"):
        powers = np.ceil(np.log(np.abs(values)) / LOG_GAMMA)
    powers[values == 0] = -BIN_OF_ONE
    return (np.sign(values) * (powers + BIN_OF_ONE)).astype(np.int64)


def sketched(values: Floats) -> Sketch:
    bins, counts = np.unique(bins_of(values), return_counts=True)
    return Sketch(bins, counts.astype(np.int64))


def added(sketches: Sequence[Sketch]) -> Sketch:
    """Add sketches up: the one of all their values."""
    bins = np.concatenate([one.bins for one in sketches])
    counts = np.concatenate([one.counts for one in sketches])
    order = np.argsort(bins, kind="stable")  # merges, for each sketch ascends
    bins = bins[order]
    first = runs(bins)[:-1]
    return Sketch(bins[first], np.add.reduceat(counts[order], first))


def percentile_of(sketch: Sketch, percent: int, *, minimum: float, maximum: float) -> float:
    """Return a percentile, interpolated between neighbours, each within 1 % of the true one."""
    ends = np.cumsum(sketch.counts)
    place, rest = divmod((int(ends[-1]) - 1) * percent, 100)
    above = min(place + 1, int(ends[-1]) - 1)
    share = rest / 100
    low, high = (
        min(max(_middle(int(sketch.bins[at])), minimum), maximum)
        for at in np.searchsorted(ends, (place, above), side="right").tolist()
    )
    return low * (1 - share) + high * share


def _middle(bin_number: int) -> float:
    """Return the value that is within one percent of all values of a bin."""
    if bin_number == 0:
        return 0.0
    power = (abs(bin_number) - BIN_OF_ONE) * LOG_GAMMA
    with np.errstate(over="ignore"):
        return float(np.sign(bin_number) * np.exp(power) * (1 - ACCURACY))


def pack_sketches(slots: Sequence[int], sketches: Sequence[Sketch]) -> bytes:
    """Pack sketches under the numbers of their slots, each below 256: a byte for the form, then,
    deflated, how many, their slots and lengths, all bins and all counts, byte by byte."""
    lengths = [len(one.bins) for one in sketches]
    bins = np.concatenate([np.empty(0, BINS), *(one.bins.astype(BINS) for one in sketches)])
    counts = np.concatenate([np.empty(0, COUNTS), *(one.counts.astype(COUNTS) for one in sketches)])
    head = np.array([len(slots), *slots, *lengths], HEAD)
    return bytes((FORM,)) + zlib.compress(
        head.tobytes() + transposed(bins.view(np.uint8), 4) + transposed(counts.view(np.uint8), 8)
    )


def unpack_sketches(packed: bytes) -> dict[int, Sketch]:
    """Return the sketches by slot; raise ``ValueError`` for another form."""
    if packed[0] != FORM:
        raise ValueError(f"sketches of the unknown form {packed[0]}")
    raw = zlib.decompress(packed[1:])
    count = int(np.frombuffer(raw, HEAD, 1)[0])
    slots, lengths = np.frombuffer(raw, HEAD, 2 * count, HEAD.itemsize).reshape(2, count)
    body = np.frombuffer(raw, np.uint8, offset=HEAD.itemsize * (1 + 2 * count))
    whole = int(lengths.sum())
    bins = body[: 4 * whole].reshape(4, whole).T.copy().view(BINS).ravel().astype(np.int64)
    counts = body[4 * whole :].reshape(8, whole).T.copy().view(COUNTS).ravel()
    ends = np.cumsum(lengths).tolist()
    return {
        int(slot): Sketch(bins[end - length : end], counts[end - length : end])
        for slot, length, end in zip(slots.tolist(), lengths.tolist(), ends, strict=True)
    }


def transposed(column: "np.ndarray", width: int) -> bytes:
    """Put the first bytes of all numbers first, then the second …: like bytes stand together."""
    return column.reshape(-1, width).T.tobytes()
