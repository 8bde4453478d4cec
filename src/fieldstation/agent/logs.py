"""How the agent writes its log: one line an event, with fields.

The standard library's logging, because structlog would double the agent's start-up time.
"""

import json
import logging
from typing import Literal, TextIO

from fieldstation.core.clock import SystemClock, us_to_rfc3339

_LOGGER = logging.getLogger("fieldstation.agent")


def log_event(
    level: Literal["debug", "info", "warning", "error"], event: str, **fields: object
) -> None:
    """Log ``<instant> <level> <event> <field>=<value> …``; values are quoted and forge no line."""
    instant = us_to_rfc3339(SystemClock().now_us())
    quoted = [f"{name}={json.dumps(value)}" for name, value in fields.items()]
    line = " ".join([instant, level, event, *quoted])
    _LOGGER.log(logging.getLevelNamesMapping()[level.upper()], "%s", line)


def write_logs_to(stream: TextIO, *, verbose: bool) -> None:
    """Send the agent's log to a stream; ``verbose`` adds each sample and each attempt."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(message)s"))
    _LOGGER.handlers = [handler]
    _LOGGER.setLevel(logging.DEBUG if verbose else logging.INFO)
    _LOGGER.propagate = False
