"""Facts that domains announce: what every event has, and who may be told."""

from collections.abc import Callable

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Something that happened and is committed; consumers may see it twice."""


Publish = Callable[[Event], None]
"""Hands an event to whoever listens; never raises, never blocks."""
