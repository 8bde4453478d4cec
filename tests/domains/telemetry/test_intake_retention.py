"""Readings that are older than what is kept are refused one by one, and nothing else is."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fieldstation.core.clock import instant_to_us, us_to_rfc3339
from fieldstation.core.errors import Invalid
from fieldstation.domains.telemetry.catalog import Catalog
from fieldstation.domains.telemetry.kept import ALL_US
from fieldstation.domains.telemetry.service import IntakeDoor
from tests.domains.telemetry.pipeline import DEVICE, ORGANIZATION, START, Pipeline, pipeline

pytestmark = pytest.mark.anyio

NOW_US = instant_to_us(START)
DAY_US = 86_400_000_000
WEEK_US = NOW_US - 7 * DAY_US


class Kept:
    """Keeps types from an instant on; counts what it is asked."""

    def __init__(self, **from_us: int) -> None:
        self.version = 1
        self.from_us = from_us
        self.asked = 0

    def raw_from_us(self, organization_id: str, device_id: str, sensor_type: str) -> int:
        assert (organization_id, device_id) == (ORGANIZATION, DEVICE)
        self.asked += 1
        return self.from_us.get(sensor_type, ALL_US)

    def change(self, **from_us: int) -> None:
        self.version += 1
        self.from_us = from_us


class KeptPipeline:
    """A pipeline whose catalog asks a retention."""

    def __init__(self, built: Pipeline, kept: Kept) -> None:
        self.built = built
        self.kept = kept
        catalog = Catalog(built.store, kept)
        built.writer.catalog = catalog
        self.door = IntakeDoor(catalog, built.intake, built.door.quotas, 10_000)
        built.door = self.door

    async def take(self, *readings: tuple[str, int | None], **fields: Any) -> dict[str, Any]:
        """Send readings of types with their times; the values are their positions."""
        return await self.built.take(
            *(
                {
                    "sensor_type": name,
                    "value": float(at),
                    **({} if ts_us is None else {"timestamp": us_to_rfc3339(ts_us)}),
                    **fields,
                }
                for at, (name, ts_us) in enumerate(readings)
            )
        )


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[KeptPipeline]:
    async with pipeline(tmp_path) as built:
        yield KeptPipeline(built, Kept(short=WEEK_US))


def faults(answer: dict[str, Any]) -> list[tuple[int, str]]:
    return [(fault["index"], fault["error"]) for fault in answer["rejected"]]


@pytest.mark.parametrize("fields", [{}, {"metadata": {"a": 1}}, {"unit": "V"}])
@pytest.mark.parametrize("is_known", [False, True])
async def test_what_is_too_old_is_refused_alone(
    kept: KeptPipeline, fields: dict[str, Any], is_known: bool
) -> None:
    if is_known:
        await kept.take(("short", NOW_US), ("long", NOW_US), **fields)

    answer = await kept.take(
        ("short", WEEK_US),
        ("short", WEEK_US - 1),
        ("long", WEEK_US - 1),
        ("short", WEEK_US + 1),
        ("long", None),
        **fields,
    )

    assert answer["accepted"] == 4
    assert faults(answer) == [(1, "beyond_retention")]
    assert us_to_rfc3339(WEEK_US) in answer["rejected"][0]["detail"]
    assert "short" in answer["rejected"][0]["detail"]
    stored = await kept.built.stored()
    assert WEEK_US in stored.ts_us
    assert stored.ts_us.count(WEEK_US - 1) == 1


@pytest.mark.parametrize("is_known", [False, True])
async def test_one_reading_alone_is_refused_as_well(kept: KeptPipeline, is_known: bool) -> None:
    if is_known:
        await kept.take(("short", NOW_US))
    with pytest.raises(Invalid) as refused:
        await kept.take(("short", WEEK_US - 1))
    assert faults(refused.value.members) == [(0, "beyond_retention")]
    assert (await kept.take(("short", WEEK_US)))["accepted"] == 1


async def test_a_refused_name_makes_no_series(kept: KeptPipeline) -> None:
    kept.kept.change(**{f"t{number}": WEEK_US for number in range(2_000)})
    old = [(f"t{number}", WEEK_US - 1) for number in range(2_000)]

    answer = await kept.take(*old, ("other", NOW_US))

    assert len(answer["rejected"]) == 2_000
    assert answer["accepted"] == 1
    assert len((await kept.door.catalog.load(ORGANIZATION, DEVICE)).by_key) == 1


async def test_a_change_holds_from_the_next_body_on_and_is_asked_for_once(
    kept: KeptPipeline,
) -> None:
    await kept.take(("short", NOW_US), ("long", NOW_US))
    old = [("short", WEEK_US - 5), ("long", WEEK_US - 5)]
    assert faults(await kept.take(*old)) == [(0, "beyond_retention")]

    kept.kept.change(long=WEEK_US)

    assert faults(await kept.take(*old)) == [(1, "beyond_retention")]
    asked = kept.kept.asked
    for at in range(1_000, 1_010):
        body = [("short", NOW_US + at), ("long", NOW_US + at)]
        assert (await kept.take(*body, ("short", None)))["rejected"] == []
    assert kept.kept.asked == asked


async def test_a_body_that_is_all_too_old_says_so(kept: KeptPipeline) -> None:
    await kept.take(("short", NOW_US))
    with pytest.raises(Invalid) as refused:
        await kept.take(*[("short", WEEK_US - at) for at in range(1, 6)])
    assert refused.value.code == "no_valid_readings"
    assert faults(refused.value.members) == [(at, "beyond_retention") for at in range(5)]
