"""A traceparent is read as W3C writes it, and nothing else is believed."""

import pytest

from fieldstation.core.tracing import Trace, parse_traceparent

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("header", "flags"),
    [
        (f"00-{TRACE}-{SPAN}-01", 1),
        (f"00-{TRACE}-{SPAN}-00", 0),
        (f"00-{TRACE}-{SPAN}-03", 1),
        (f"cc-{TRACE}-{SPAN}-01-later", 1),
    ],
)
def test_a_valid_one_is_continued(header: str, flags: int) -> None:
    found = parse_traceparent(header.encode())
    assert found == Trace(TRACE, SPAN, flags)
    assert found is not None
    below = found.child()
    assert below.trace_id == TRACE
    assert below.span_id != SPAN
    assert below.header == f"00-{TRACE}-{below.span_id}-{flags:02x}"


@pytest.mark.parametrize(
    "header",
    [
        "",
        f"00-{TRACE}-{SPAN}",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01\nforged",
    ],
)
def test_any_other_is_left_alone(header: str) -> None:
    assert parse_traceparent(header.encode()) is None
