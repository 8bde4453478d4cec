"""Log lines cannot be forged by what they report, and show no local variables."""

import json
import subprocess
import sys

import pytest

FORGED = "pump\r\n2026-05-01 [info] all is well\x1b[2J\x9b31m\x00\x7f"
SCRIPT = """
import logging, sys
import structlog
from fieldstation.core.logging import configure_logging

configure_logging(level=sys.argv[1], renderer=sys.argv[2])
forged = sys.argv[3].encode().decode("unicode_escape")
log = structlog.get_logger("station")
log.info("device_registered", name=forged, tags=[forged], count=3)
log.debug("not_wanted_above_debug")
logging.getLogger("library").warning("said %s", forged)
logging.getLogger("uvicorn.access").error("never_shown")
logging.getLogger("alembic.runtime").info("never_shown")
logging.getLogger("asyncio").warning("shown unless errors alone are wanted")


def fail(password):
    raise ValueError("cannot do " + forged)


try:
    fail("local-secret-4711")
except ValueError:
    log.exception("crashed", device=forged)
    logging.getLogger("library").exception("crashed too")
"""


def logged(renderer: str, level: str = "INFO") -> str:
    escaped = FORGED.encode("unicode_escape").decode()
    command = [sys.executable, "-c", SCRIPT, level, renderer, escaped]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == ""
    return done.stderr


@pytest.mark.parametrize("renderer", ["json", "console"])
def test_control_characters_of_a_field_are_escaped(renderer: str) -> None:
    first = logged(renderer).splitlines()[0]
    assert "device_registered" in first
    assert "all is well" in first
    assert not {
        character for character in first if ord(character) < 32 or 127 <= ord(character) < 160
    }


@pytest.mark.parametrize("renderer", ["json", "console"])
def test_a_message_of_a_library_is_escaped(renderer: str) -> None:
    lines = [line for line in logged(renderer).splitlines() if "said" in line]
    assert len(lines) == 1
    assert "\\x0a" in lines[0].replace("\\\\", "\\")


@pytest.mark.parametrize("renderer", ["json", "console"])
def test_an_exception_s_text_cannot_move_the_cursor_or_forge_a_line(renderer: str) -> None:
    output = logged(renderer)
    assert "\x1b" not in output
    assert not any(line.startswith("2026-05-01 [info]") for line in output.splitlines())


@pytest.mark.parametrize("renderer", ["json", "console"])
def test_a_traceback_shows_where_but_no_local_variables(renderer: str) -> None:
    output = logged(renderer)
    assert output.count("Traceback") == 2
    assert "local-secret-4711" not in output


def test_json_lines_have_an_event_and_its_fields() -> None:
    first = json.loads(logged("json").splitlines()[0])
    assert first["event"] == "device_registered"
    assert first["count"] == 3
    assert first["level"] == "info"
    assert first["timestamp"].endswith("Z")


def test_every_json_line_is_whole() -> None:
    events = [json.loads(line)["event"] for line in logged("json").splitlines()]
    assert len(events) == 5


@pytest.mark.parametrize(
    ("level", "lines"), [("DEBUG", 6), ("WARNING", 4), ("ERROR", 2), ("CRITICAL", 0)]
)
def test_the_level_decides_what_is_written(level: str, lines: int) -> None:
    output = logged("json", level)
    assert len(output.splitlines()) == lines
    assert "never_shown" not in output
