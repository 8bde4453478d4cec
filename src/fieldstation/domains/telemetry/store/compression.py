"""The bytes of a sealed chunk: the readings of one series as compressed columns.

One msgpack array of the fields of ``Sealed``. The first and the last instant and the number of
readings stand beside it in the row. Instants are kept as their distances from the straight line
between these two: nothing for a regular interval, the jitter otherwise. Values that are decimals of
a few places are kept as whole numbers; the few others, and a negative zero, apart. Both go through
pcodec, plain or as differences, whichever is shorter for a sample. Every value comes back bit by
bit.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from pcodec import ChunkConfig, DeltaSpec
from pcodec.standalone import simple_compress, simple_decompress

from fieldstation.domains.telemetry.store.points import Floats, Integers, Points

FORM = 1
READINGS_MAX = 4_096
DECIMALS_MAX = 6
SAMPLED = 64
STRETCHES = 8
STRETCH_NUMBERS = 32
ODD_SHARE = 16
"""Of so many values one may be no decimal."""
WHOLE_MAX = 2.0**53
INT32_MAX = 2**31 - 1
LINE_MAX = 2**62

# Level 6 of 12 is within half a percent of the best and three times as fast as level 8.
_CONFIGS = (
    ChunkConfig(compression_level=6, delta_spec=DeltaSpec.try_consecutive(1)),
    ChunkConfig(compression_level=6, delta_spec=DeltaSpec.no_op()),
)


class Sealed(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """``odd`` are the positions (two bytes each) and values (eight) of what is no decimal;
    ``decimals`` is ``None`` where all values are kept as they are, ``flags`` a number where all are
    equal.
    """

    form: int
    unit_us: int
    instants: bytes
    decimals: int | None
    values: bytes
    odd: tuple[bytes, bytes]
    flags: int | bytes


class Outline(NamedTuple):
    """What a row says of its chunk beside the bytes."""

    series_id: int
    start_us: int
    end_us: int
    count: int


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Sealed)


def compress(points: Points) -> bytes:
    """Pack one to 4,096 readings of one series in order.

    Cost: some 300 µs; pcodec runs without the interpreter's lock.
    """
    unit_us, distances = _from_line(points.ts_us)
    decimals, numbers, odd = _as_decimals(points.value)
    places = odd.astype("<u2").tobytes(), points.value[odd].astype("<f8").tobytes()
    return _encoder.encode(
        Sealed(
            FORM,
            unit_us,
            _shortest(distances),
            decimals,
            _shortest(numbers),
            places,
            _pack_flags(points.flags),
        )
    )


def decompress(outline: Outline, packed: bytes) -> Points:
    """Return the readings of a chunk; raise ``ValueError`` for a form that is unknown here.

    Cost: some 60 µs.
    """
    sealed = _decoder.decode(packed)
    if sealed.form != FORM:
        raise ValueError(f"sealed chunk of the unknown form {sealed.form}")
    series_id, start_us, end_us, count = outline
    along = _line(count, (end_us - start_us) // sealed.unit_us) + _numbers(sealed.instants)
    flags = (
        np.full(count, sealed.flags, np.int64)
        if isinstance(sealed.flags, int)
        else _numbers(sealed.flags).astype(np.int64)
    )
    return Points(
        np.full(count, series_id, np.int64),
        along * sealed.unit_us + start_us,
        _from_decimals(sealed),
        flags,
    )


def cut(points: Points) -> Sequence[Points]:
    """Cut readings of one series in order into equal pieces of at most 4,096."""
    pieces = -(-len(points) // READINGS_MAX)
    edges = np.linspace(0, len(points), pieces + 1).astype(int).tolist()
    return [points.take(slice(*pair)) for pair in pairwise(edges)]


def _from_line(ts_us: Integers) -> tuple[int, Integers]:
    """Return the largest unit in which all instants are whole, counted from the first, and how many
    units each lies behind the straight line from the first to the last."""
    since = ts_us - ts_us[0]
    unit_us = max(1, int(np.gcd.reduce(since)))
    along = since // unit_us
    return unit_us, along - _line(len(ts_us), int(along[-1]))


def _line(count: int, span: int) -> Integers:
    steps = np.arange(count)
    gaps = max(1, count - 1)
    if span * gaps > LINE_MAX:
        return steps * (span // gaps)
    return steps * span // gaps


def _as_decimals(value: Floats) -> "tuple[int | None, NDArray[np.generic], Integers]":
    """Return how many decimals the values have, the values as whole numbers of those, and the
    positions of those that are none; without such a number the values themselves."""
    sample = value[:: max(1, len(value) // SAMPLED)]
    for decimals in range(DECIMALS_MAX + 1):
        if len(_odd(sample, decimals)[1]) * ODD_SHARE > len(sample):
            continue
        whole, odd = _odd(value, decimals)
        if len(odd) * ODD_SHARE <= len(value):
            fits = int(np.abs(whole).max(initial=0)) <= INT32_MAX
            return decimals, whole.astype(np.int32) if fits else whole, odd
    return None, value, np.empty(0, np.int64)


def _odd(value: Floats, decimals: int) -> tuple[Integers, Integers]:
    """Return the values as whole numbers, and the positions at which they come back as others."""
    scale = 10.0**decimals
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = np.rint(value * scale)
        scaled = np.where(np.abs(scaled) < WHOLE_MAX, scaled, 0.0)
    whole = scaled.astype(np.int64)
    again = whole / scale
    odd = np.flatnonzero(again.view(np.int64) != value.view(np.int64))
    if len(odd):
        # What stands there does not matter; a neighbour's value compresses best.
        whole[odd] = whole[np.maximum(odd - 1, 0)]
    return whole, odd


def _from_decimals(sealed: Sealed) -> Floats:
    numbers = _numbers(sealed.values)
    if sealed.decimals is None:
        return numbers
    value: Floats = numbers / 10.0**sealed.decimals
    places, odd = sealed.odd
    value[np.frombuffer(places, "<u2")] = np.frombuffer(odd, "<f8")
    return value


def _pack_flags(flags: Integers) -> int | bytes:
    if (flags == flags[0]).all():
        return int(flags[0])
    return _shortest(flags.astype(np.uint32))


def _shortest(numbers: "NDArray[np.generic]") -> bytes:
    """Compress plain or as differences, whichever is shorter for eight stretches of 32 numbers:
    both in full would take nearly half as long again."""
    stretch = len(numbers) // STRETCHES
    if stretch <= STRETCH_NUMBERS:
        return min((simple_compress(numbers, config) for config in _CONFIGS), key=len)
    stretches = numbers[: STRETCHES * stretch].reshape(STRETCHES, stretch)
    sample = stretches[:, :STRETCH_NUMBERS].ravel()
    best = min(_CONFIGS, key=lambda config: len(simple_compress(sample, config)))
    return simple_compress(numbers, best)


def _numbers(packed: bytes) -> "NDArray[Any]":
    found = simple_decompress(packed)
    if found is None:
        raise ValueError("sealed chunk without numbers")
    return found
