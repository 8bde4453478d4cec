"""Structured logs: an event name and fields, as JSON or for a console."""

import logging
import sys
from typing import Any, Literal

import structlog

from fieldstation.core.correlation import ids

QUIET = ("uvicorn.error", "alembic", "asyncio")
CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), 127, *range(0x80, 0xA0))}


def configure_logging(*, level: str, renderer: Literal["console", "json"]) -> None:
    """Send every log line, ours and the libraries', through one structured renderer to stderr."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        add_correlation_id,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    final: Any = (
        structlog.processors.JSONRenderer()
        if renderer == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            # The rich one prints local variables: slow, and some of them are secrets.
            exception_formatter=structlog.dev.plain_traceback,
        )
    )
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, escape_control, final]
        if renderer == "json"
        else [*shared, escape_control, final],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                escape_control,
                final,
            ],
            foreign_pre_chain=shared,
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = name != "uvicorn.access"
    for name in QUIET:
        logging.getLogger(name).setLevel("WARNING")


def add_correlation_id(_logger: object, _method: str, event: Any) -> Any:
    """Name the request that a line belongs to."""
    found = ids.get()
    if found is not None:
        event.setdefault("correlation_id", found[0])
    return event


def escape_control(_logger: object, _method: str, event: Any) -> Any:
    """Make control characters visible, so that a device's name cannot forge a line or move a
    cursor."""
    for key, value in event.items():
        if isinstance(value, str) and key != "exception":
            event[key] = value.translate(CONTROL)
    return event
