"""Where a connection is in its life."""

from enum import Enum, auto


class State(Enum):
    """Not before ``OPEN`` is it known who the client is."""

    FRESH = auto()
    AUTHENTICATING = auto()
    OPEN = auto()
    CLOSED = auto()
