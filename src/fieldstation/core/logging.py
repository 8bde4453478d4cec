"""Structured logs: an event name and fields, as JSON or for a console."""

import logging
import sys
from typing import Any, Literal

import structlog

from fieldstation.core.correlation import ids
from fieldstation.core.tracing import trace

QUIET = ("uvicorn.error", "alembic", "asyncio", "aiosqlite", "websockets")
"""Libraries that say too little, or too much: aiosqlite every statement, websockets the tokens."""

CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), 127, *range(0x80, 0xA0))}
# Line and paragraph separators, and what turns the direction of text.
CONTROL |= {code: f"\\u{code:04x}" for code in (*range(0x2028, 0x202F), *range(0x2066, 0x206A))}


def configure_logging(*, level: str, renderer: Literal["console", "json"]) -> None:
    """Send every log line, ours and the libraries', through one structured renderer to stderr."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        add_correlation_id,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        # Plain tracebacks: the rich ones print local variables, slowly, and some are secrets.
        structlog.processors.format_exc_info,
        escape_control,
    ]
    final: Any = (
        structlog.processors.JSONRenderer()
        if renderer == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*shared, final],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, final],
            foreign_pre_chain=shared,
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger("uvicorn.access").disabled = True  # the station writes its own
    # It repeats what MariaDB remarks on statements that succeeded.
    logging.getLogger("asyncmy").setLevel(max(logging.ERROR, root.level))
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def add_correlation_id(_logger: object, _method: str, event: Any) -> Any:
    """Name the request that a line belongs to."""
    found = ids.get()
    if found is not None:
        event.setdefault("correlation_id", found[0])
    running = trace.get()
    if running is not None:
        event.setdefault("trace_id", running.trace_id)
    return event


def escape_control(_logger: object, _method: str, event: Any) -> Any:
    """Make control characters visible: nothing reported can forge a line or move a cursor."""
    for key, value in event.items():
        if key == "exception":
            lines = str(value).split("\n")
            event[key] = "\n".join("  " + line.translate(CONTROL) for line in lines)
        elif isinstance(value, str):
            event[key] = value.translate(CONTROL)
    return event
