"""Starts the event loop of a station process."""

import asyncio
import os
import resource
import sys
from collections.abc import Awaitable, Callable

import uvloop

from fieldstation.core.logging import configure_logging
from fieldstation.core.settings import Settings
from fieldstation.serving import Ready, serve

SWITCH_INTERVAL_S = 0.0005
"""With Python's 5 ms the writer's thread starves beside a busy loop; architecture.md has the
measurement."""


def run_station(settings: Settings, on_ready: Callable[[Ready], Awaitable[None]]) -> None:
    """Serve until a signal; raises ``SettingsError`` and ``Busy``."""
    configure_logging(level=settings.log.level, renderer=settings.log.format)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    os.umask(0o077)  # what the station writes is its owner's alone
    raise_open_files_limit()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings, on_ready))


def raise_open_files_limit() -> None:
    """Let the process have as many connections as the system allows without asking anybody."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
