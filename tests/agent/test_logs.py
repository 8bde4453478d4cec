"""A log line is one line, whatever the fields say."""

import io
import logging
import re
from collections.abc import Iterator

import pytest

from fieldstation.agent.logs import log_event, write_logs_to

LOGGER = logging.getLogger("fieldstation.agent")


@pytest.fixture(autouse=True)
def _own_logger() -> Iterator[None]:
    before = LOGGER.handlers, LOGGER.propagate, LOGGER.level
    yield
    LOGGER.handlers, LOGGER.propagate, level = before
    LOGGER.setLevel(level)


def test_line_has_instant_level_event_and_fields() -> None:
    stream = io.StringIO()
    write_logs_to(stream, verbose=False)
    log_event("info", "station_connected", station="mqtt://here", waiting=3)
    instant, line = stream.getvalue().split(" ", 1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", instant)
    assert line == 'info station_connected station="mqtt://here" waiting=3\n'


def test_line_breaks_and_escapes_in_a_field_forge_nothing() -> None:
    stream = io.StringIO()
    write_logs_to(stream, verbose=False)
    log_event("warning", "station_away", detail="x\n2026 info all_is_well\x1b[31m %s")
    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize(("verbose", "lines"), [(True, 1), (False, 0)])
def test_debug_lines_are_for_the_verbose(*, verbose: bool, lines: int) -> None:
    stream = io.StringIO()
    write_logs_to(stream, verbose=verbose)
    log_event("debug", "sampled")
    assert stream.getvalue().count("\n") == lines
