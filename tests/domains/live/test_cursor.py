"""A cursor says exactly where a socket stands, and any other text is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstation.core.errors import Invalid
from fieldstation.domains.live.cursor import CHARACTERS_MAX, Cursor, parse_cursor

NODE = st.from_regex(r"\A[A-Za-z0-9-]{1,36}\Z")
NUMBER = st.integers(0, 10**14)


@given(st.dictionaries(NODE, st.tuples(NUMBER, st.integers(-1, 10**6)), min_size=1, max_size=5))
def test_a_cursor_survives_its_text(positions: dict[str, tuple[int, int]]) -> None:
    node = next(iter(positions))
    cursor = Cursor(
        {name: seq for name, (seq, _) in positions.items()},
        node_id=node,
        indexes={name: index for name, (_, index) in positions.items()},
    )
    assert parse_cursor(cursor.text(), node_id=node) == cursor


def test_a_node_moves_only_its_own_part() -> None:
    cursor = Cursor({"a": 5, "b": 7}, node_id="a").moved_to("a", 6)
    assert cursor.text() == "a.6.-1~b.7.-1"
    assert cursor.text({"a": 3}) == "a.6.3~b.7.-1"
    for node, expected in (("a", "a.6.3~b.7.-1"), ("b", "a.6.-1~b.7.3")):
        head, tail = cursor.around(node)
        assert f"{head}3{tail}" == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "a.1",
        "a.1.",
        "a.x.1",
        "a.1.x",
        "a.-1.1",
        "a.-1.-1",
        "a.1.-2",
        "a.1.--1",
        ".1.1",
        "a.1.1~",
        "a.1.1.1",
        "a.²₃.1",
        "a. 1.1",
        "a.1e3.1",
        "a." + "9" * 20 + ".1",
        "~".join(f"n{n}.1.1" for n in range(65)),
        "a" * 5_000,
    ],
)
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="since") as refused:
        parse_cursor(text, node_id="a")
    assert refused.value.code == "invalid_cursor"


@given(st.text(max_size=60))
def test_no_text_makes_it_fail_otherwise(text: str) -> None:
    try:
        cursor = parse_cursor(text, node_id="a")
    except Invalid:
        return
    assert cursor.positions


def test_the_longest_text_still_names_many_nodes() -> None:
    cursor = Cursor({f"{n:036}": 10**12 for n in range(60)}, node_id="a")
    assert len(cursor.text()) < CHARACTERS_MAX
    assert len(parse_cursor(cursor.text(), node_id="a").positions) == 60
