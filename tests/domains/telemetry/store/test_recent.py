"""What waits in memory is found whichever way it came together, and goes when told to."""

from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from fieldstation.domains.telemetry.ports import FLAG_DETAIL, Detail, Kind
from fieldstation.domains.telemetry.store.points import Key, Points, floats, in_key_order, integers
from fieldstation.domains.telemetry.store.recent import (
    PARTS_PER_SIZE_MAX,
    Part,
    Recent,
    between,
)

SERIES = (1, 2, 3)
FIRST_US, END_US = 1, 301

Rows = Mapping[Key, float]

keys = st.tuples(st.sampled_from(SERIES), st.integers(FIRST_US, END_US - 1))
entries = st.lists(st.dictionaries(keys, st.floats(-9, 9), min_size=1, max_size=6), max_size=60)


def make_points(rows: Rows) -> Points:
    return in_key_order(
        Points(
            integers([series_id for series_id, _ in rows]),
            integers([ts_us for _, ts_us in rows]),
            floats(list(rows.values())),
            integers([0] * len(rows)),
        )
    )


def make_recent(*added: Rows) -> Recent:
    """Add each as a log entry; they are numbered from 1, and nothing stood before."""
    recent = Recent()
    recent.newest = {series_id: 0 for rows in added for series_id, _ in rows}
    for number, rows in enumerate(added, start=1):
        recent.add(make_points(rows), number)
    return recent


def one_each(count: int, *, series_id: int = 1) -> list[Rows]:
    """Make entries of one reading each, the first of them the oldest."""
    return [{(series_id, FIRST_US + at): float(at)} for at in range(count)]


def rows_in(parts: list[Part]) -> dict[Key, float]:
    """Return what a search of the whole period finds; nothing may be there twice."""
    found: dict[Key, float] = {}
    for part in parts:
        for piece in between(part, SERIES, FIRST_US, END_US):
            own = zip(piece.series_id.tolist(), piece.ts_us.tolist(), strict=True)
            rows = dict(zip(own, piece.value.tolist(), strict=True))
            assert found.keys().isdisjoint(rows)
            found |= rows
    return found


@settings(deadline=None)
@given(added=entries, start_us=st.integers(0, END_US), length_us=st.integers(0, END_US))
def test_everything_added_is_found_as_in_a_dict(
    added: list[dict[Key, float]], start_us: int, length_us: int
) -> None:
    recent, model = Recent(), dict[Key, float]()
    recent.newest = {series_id: 0 for rows in added for series_id, _ in rows}
    for number, rows in enumerate(added, start=1):
        fresh = {key: value for key, value in rows.items() if key not in model}
        recent.add(make_points(fresh), number)
        model |= fresh

    end_us = start_us + length_us
    assert rows_in(recent.parts()) == model
    assert recent.standing(model) == {
        key: (value, Kind.NUMBER, None) for key, value in model.items()
    }
    assert recent.standing({(9, 5), (1, END_US)}) == {}
    for part in recent.parts():
        pieces = between(part, [2], start_us, end_us)
        assert all(start_us <= ts_us < end_us for piece in pieces for ts_us in piece.ts_us)
    found = [
        key
        for part in recent.parts()
        for piece in between(part, [2], start_us, end_us)
        for key in zip(piece.series_id.tolist(), piece.ts_us.tolist(), strict=True)
    ]
    assert sorted(found) == sorted(
        key for key in model if key[0] == 2 and start_us <= key[1] < end_us
    )
    assert recent.newest == {
        series_id: max(ts_us for own, ts_us in model if own == series_id)
        for series_id in {own for own, _ in model}
    }
    assert len(recent) == len(model)
    assert len(recent.parts()) < PARTS_PER_SIZE_MAX


def test_ten_thousand_small_entries_make_few_parts() -> None:
    recent = Recent()
    for number in range(1, 10_001):
        recent.add(make_points({(1 + number % 3, number): float(number)}), number)
        assert len(recent.parts()) < PARTS_PER_SIZE_MAX

    assert len(recent) == 10_000
    wanted = {(1 + number % 3, number) for number in range(1, 10_001)}
    assert {key: fact[0] for key, fact in recent.standing(wanted).items()} == {
        key: float(key[1]) for key in wanted
    }


def test_an_entry_that_is_known_changes_nothing() -> None:
    recent = make_recent({(1, 5): 1.0}, {(1, 6): 2.0})

    recent.add(make_points({(1, 6): 2.0}), 2)
    recent.add(make_points({(1, 5): 1.0}), 1)

    assert rows_in(recent.parts()) == {(1, 5): 1.0, (1, 6): 2.0}
    assert (len(recent), recent.last_id) == (2, 2)


def test_entries_before_the_beginning_are_known() -> None:
    recent = Recent()
    recent.begin_at(7)

    recent.add(make_points({(1, 5): 1.0}), 7)
    recent.add(make_points({(1, 6): 2.0}), 8)

    assert rows_in(recent.parts()) == {(1, 6): 2.0}


def test_a_text_stands_with_its_kind() -> None:
    points = make_points({(1, 5): 0.0})
    points.flags[:] = Kind.TEXT | FLAG_DETAIL
    recent = Recent()
    recent.add(
        Points(
            points.series_id, points.ts_us, points.value, points.flags, {(1, 5): Detail("open")}
        ),
        1,
    )

    assert recent.standing([(1, 5)]) == {(1, 5): (0.0, Kind.TEXT, "open")}


def test_what_is_frozen_stays_as_it_is_until_it_is_forgotten() -> None:
    recent = make_recent(*one_each(3))
    frozen = recent.freeze()

    for number, rows in enumerate(one_each(40, series_id=2), start=4):
        recent.add(make_points(rows), number)

    assert recent.parts()[:3] == frozen
    assert recent.freeze() == frozen, "a flush that is tried again writes the same"
    assert len(recent.parts()) < 3 + PARTS_PER_SIZE_MAX
    assert recent.forget_through(frozen[-1].last_id)
    assert rows_in(recent.parts()) == dict(
        kv for rows in one_each(40, series_id=2) for kv in rows.items()
    )
    assert len(recent) == 40
    assert rows_in(recent.freeze()) == rows_in(recent.parts())


def test_nothing_is_frozen_where_nothing_waits() -> None:
    assert make_recent().freeze() == []


def test_forgetting_through_the_last_entry_leaves_only_what_is_newest() -> None:
    recent = make_recent(*one_each(3))

    assert recent.forget_through(3)

    assert (recent.parts(), len(recent)) == ([], 0)
    assert recent.newest == {1: FIRST_US + 2}, "what is in chunks is still the newest"


def test_forgetting_entries_that_were_never_seen_passes_over_them() -> None:
    recent = make_recent(*one_each(3))

    assert recent.forget_through(5)
    recent.add(make_points({(2, 5): 1.0}), 5)
    assert (recent.parts(), recent.newest) == ([], {}), "they may have held newer ones"

    recent.add(make_points({(2, 6): 1.0}), 6)
    assert rows_in(recent.parts()) == {(2, 6): 1.0}


def test_entries_that_are_missing_in_the_log_may_have_held_newer_readings() -> None:
    recent = make_recent(*one_each(3))

    recent.add(make_points({(2, 6): 1.0}), 6)

    assert 1 not in recent.newest
    assert len(rows_in(recent.parts())) == 4


def test_forgetting_again_or_less_changes_nothing() -> None:
    recent = make_recent(*one_each(3))
    recent.forget_through(2)

    assert recent.forget_through(2)
    assert recent.forget_through(1)

    assert rows_in(recent.parts()) == one_each(3)[2]


def test_an_end_inside_a_part_is_told_and_drops_nothing() -> None:
    recent = make_recent(*one_each(PARTS_PER_SIZE_MAX))
    assert len(recent.parts()) == 1

    assert not recent.forget_through(PARTS_PER_SIZE_MAX // 2)

    assert len(rows_in(recent.parts())) == len(recent) == PARTS_PER_SIZE_MAX


def test_clear_begins_again_behind_an_entry() -> None:
    recent = make_recent(*one_each(PARTS_PER_SIZE_MAX))
    recent.freeze()

    recent.clear(8)
    for number, rows in enumerate(one_each(10), start=1):
        recent.add(make_points(rows), number)

    assert rows_in(recent.parts()) == {**one_each(10)[8], **one_each(10)[9]}
    assert (len(recent), recent.last_id) == (2, 10)
    assert recent.forget_through(8)
    assert rows_in(recent.freeze()) == rows_in(recent.parts())
