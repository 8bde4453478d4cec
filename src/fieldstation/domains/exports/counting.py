"""Finds out whether a period holds more readings than a bound without reading it all."""

from collections.abc import Sequence

from fieldstation.domains.telemetry.ports import ReadingStore, SeriesRow

FIRST_SPAN_US = 60_000_000
GROWTH = 8
SHARE = 0.5
"""Of the bound: a look is made as long as, by the last one, this many readings would be in it."""


async def holds_more(
    store: ReadingStore,
    series: Sequence[SeriesRow],
    *,
    start_us: int,
    end_us: int,
    readings_max: int,
) -> bool:
    """Tell whether a period has more than ``readings_max`` readings that are no texts.

    Cost: nothing while the whole store has no more than that; else the counts of buckets, in looks
    that grow, until the bound is passed: what the store reads for about that many readings, however
    many there are.
    """
    totals = await store.totals()
    if totals.readings <= readings_max or not series:
        return False
    oldest, newest = totals.oldest_us or 0, totals.newest_us or end_us
    edge, end_us = max(start_us, oldest), min(end_us, newest + 1)
    span_us, found = FIRST_SPAN_US, 0
    while edge < end_us:
        width = min(span_us, end_us - edge)
        count = await count_readings(store, series, start_us=edge, end_us=edge + width)
        found += count
        if found > readings_max:
            return True
        edge += width
        fitting = int(width * SHARE * readings_max / count) if count else width * GROWTH
        span_us = max(FIRST_SPAN_US, min(width * GROWTH, fitting))
    return False


async def count_readings(
    store: ReadingStore, series: Sequence[SeriesRow], *, start_us: int, end_us: int
) -> int:
    """Count by buckets of the period's whole length: at most two a series."""
    buckets = await store.buckets(
        series, start_us=start_us, end_us=end_us, interval_us=end_us - start_us
    )
    return sum(bucket.count for bucket in buckets)
