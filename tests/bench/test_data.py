"""The data is the same every time and has the promised share of late and repeated readings."""

from collections import Counter

import pytest

from bench.data import DUPLICATE_SHARE, LATE_SHARE, SENSORS, device_readings

READINGS = 40_000


def test_same_seed_gives_the_same_readings() -> None:
    assert device_readings(7, start=0, count=500) == device_readings(7, start=0, count=500)


def test_another_device_and_another_seed_give_other_values() -> None:
    readings = device_readings(7, start=0, count=500)

    assert readings != device_readings(8, start=0, count=500)
    assert readings != device_readings(7, start=0, count=500, seed=124)


def test_a_later_part_continues_the_earlier_one() -> None:
    whole = device_readings(3, start=0, count=900)

    assert whole[:400] == device_readings(3, start=0, count=400)
    assert whole[400:] == device_readings(3, start=400, count=500)


def test_each_key_is_new_once_and_repeated_only_unchanged_and_later() -> None:
    values: dict[tuple[int, int], float] = {}
    for reading in device_readings(1, start=0, count=READINGS):
        key = (reading.sensor, reading.second)
        assert (key in values) == reading.repeated
        assert values.setdefault(key, reading.value) == reading.value


def test_one_in_a_hundred_is_repeated_and_five_arrive_behind_newer_ones() -> None:
    newest: Counter[int] = Counter()
    repeated = late = 0
    for reading in device_readings(1, start=0, count=READINGS):
        if reading.repeated:
            repeated += 1
        elif reading.second < newest[reading.sensor]:
            late += 1
        newest[reading.sensor] = max(newest[reading.sensor], reading.second)

    assert repeated / READINGS == pytest.approx(DUPLICATE_SHARE, rel=0.2)
    assert late / READINGS == pytest.approx(LATE_SHARE, rel=0.1)


def test_levels_have_one_decimal_and_walks_move_in_small_steps() -> None:
    readings = [r for r in device_readings(1, start=0, count=5_000) if not r.repeated]
    for index, sensor in enumerate(SENSORS):
        values = {r.second: r.value for r in readings if r.sensor == index}
        if not sensor.walks:
            assert all(value == round(value, 1) for value in values.values())
            continue
        steps = [
            abs(value - values[second - 1])
            for second, value in values.items()
            if second - 1 in values
        ]
        assert max(steps) <= sensor.spread / 20 + 0.001
