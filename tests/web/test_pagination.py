"""Pages are stable under inserts, and a cursor is good for its own list only."""

import base64
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstation.core.errors import Invalid
from fieldstation.web.pagination import (
    PageRequest,
    cut_page,
    decode_cursor,
    encode_cursor,
)
from tests.clients import StationClient

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)


@given(INT64, st.text(max_size=60))
def test_a_cursor_carries_its_sort_key(number: int, name: str) -> None:
    try:
        cursor = encode_cursor(number, name)
    except UnicodeEncodeError:
        return  # no id holds half a surrogate pair
    assert decode_cursor(cursor, int, str) == (number, name)
    assert cursor.isascii()


@given(st.text(max_size=80))
def test_any_other_text_is_a_foreign_cursor(text: str) -> None:
    try:
        found = decode_cursor(text, int, str)
    except Invalid as error:
        assert error.code == "invalid_cursor"  # noqa: PT017 - it may also be valid
    else:
        assert [type(part) for part in found] == [int, str]


@pytest.mark.parametrize(
    "key",
    [(), (1,), ("x", 1), (1, "x", 2), (True, "x"), (1.5, "x"), (None, "x"), (1 << 70, "x")],
)
def test_a_key_of_another_form_is_foreign(key: tuple[Any, ...]) -> None:
    with pytest.raises(Invalid, match="next_cursor"):
        decode_cursor(encode_cursor(*key), int, str)


def test_a_cursor_that_is_no_list_is_foreign() -> None:
    with pytest.raises(Invalid):
        decode_cursor(base64.urlsafe_b64encode(b'{"a": 1}').decode(), int, str)


Row = tuple[int, str]


def fetch(rows: Sequence[Row], after: tuple[Any, ...] | None, limit: int) -> list[Row]:
    """Do what a query does: newest first, strictly behind the key."""
    ordered = sorted(rows, reverse=True)
    return [row for row in ordered if after is None or row < tuple(after)][:limit]


@given(
    st.lists(st.tuples(st.integers(0, 20), st.uuids().map(str)), unique=True, max_size=40),
    st.lists(st.tuples(st.integers(0, 40), st.uuids().map(str)), unique=True, max_size=40),
    st.integers(1, 9),
)
def test_no_row_is_lost_or_seen_twice_while_others_arrive(
    rows: list[Row], arriving: list[Row], limit: int
) -> None:
    stored, seen, cursor = list(rows), list[Row](), None
    waiting = list(arriving)
    while True:
        page = PageRequest(limit=limit, cursor=cursor)
        items, cursor = cut_page(fetch(stored, page.after(int, str), limit + 1), page, tuple)
        seen += items
        if cursor is None:
            break
        stored += [waiting.pop() for _ in range(min(2, len(waiting)))]
    assert len(seen) == len(set(seen))
    assert set(rows) <= set(seen)
    assert seen == sorted(seen, reverse=True)


def names(client: StationClient, **query: Any) -> tuple[list[str], str | None]:
    body = client.get("/api/v1/devices", **query)
    return [item["name"] for item in body["items"]], body["next_cursor"]


def test_a_list_of_devices_is_stable_while_devices_are_registered(client: StationClient) -> None:
    for n in range(7):
        client.register_device(name=f"first {n}")
    seen, cursor = names(client, limit=3)
    while cursor is not None:
        client.register_device(name="meanwhile")
        page, cursor = names(client, limit=3, cursor=cursor)
        seen += page
    assert seen == [f"first {n}" for n in reversed(range(7))]


def test_the_total_is_counted_only_on_request(client: StationClient) -> None:
    for _ in range(3):
        client.register_device()
    assert client.get("/api/v1/devices", limit=2).get("total") is None
    assert client.get("/api/v1/devices", limit=2, include_total="true")["total"] == 3


@pytest.mark.parametrize("character", ["溫", "😀", "\\", '"', "é"])
def test_the_station_takes_its_own_cursors_however_long_names_are(
    client: StationClient, character: str
) -> None:
    for _ in range(3):
        client.register_device(name=character * 100)
    query = {"sort": "name,device_type,created_at,updated_at", "limit": 1}
    first = client.get("/api/v1/devices", **query)
    second = client.get("/api/v1/devices", **query, cursor=first["next_cursor"])
    assert [item["name"] for item in second["items"]] == [character * 100]


@pytest.mark.parametrize("limit", [0, 201, -1, "x"])
def test_a_page_is_bounded(client: StationClient, limit: object) -> None:
    client.get("/api/v1/devices", status=422, limit=limit)


def test_a_full_page_at_the_end_has_no_cursor(client: StationClient) -> None:
    client.register_device()
    assert names(client, limit=1) == (["greenhouse"], None)


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "äöü",
        "%00",
        "x" * 2_001,
        encode_cursor("x", 1),
        encode_cursor(True, "x"),
        encode_cursor(1 << 70, "x"),
        encode_cursor(1, "\x00"),
        encode_cursor(5, 5),
    ],
)
def test_a_foreign_cursor_is_refused_or_finds_nothing(client: StationClient, cursor: str) -> None:
    client.register_device()
    for path in ("/api/v1/devices", "/api/v1/readings"):
        answer = client.http.get(path, params={"cursor": cursor})
        assert answer.status_code == 422 or answer.json()["items"] == [], answer.text[:300]


def test_the_cursor_of_another_list_is_refused(client: StationClient) -> None:
    device = client.register_device()
    client.register_device()
    client.send(device, [{"sensor_type": "t", "value": n} for n in range(3)])
    of_devices = client.get("/api/v1/devices", limit=1)["next_cursor"]
    of_readings = client.get("/api/v1/readings", limit=1)["next_cursor"]
    client.get("/api/v1/devices", status=422, cursor=of_readings)
    client.get("/api/v1/readings", status=422, cursor=of_devices)
