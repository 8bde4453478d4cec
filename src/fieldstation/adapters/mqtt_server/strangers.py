"""What clients may send before the station knows who they are, bounded for all together."""


class Strangers:
    """Counts the bytes that wait from clients that are not authenticated yet.

    A little is everybody's own (``connections_max`` bounds that), so that nobody's large CONNECT
    keeps others out.
    """

    def __init__(self, *, bytes_max: int, own_bytes: int) -> None:
        self.bytes_max = bytes_max
        self.own_bytes = own_bytes
        self.held = 0


class Stranger:
    """One such client."""

    def __init__(self, strangers: Strangers) -> None:
        self._strangers = strangers
        self._sent = 0
        self._held = 0

    def hold(self, size: int) -> bool:
        """Take note of bytes that arrived; return whether there is room for them."""
        strangers = self._strangers
        more = max(self._sent + size - strangers.own_bytes, 0) - self._held
        if more and strangers.held + more > strangers.bytes_max:
            return False
        self._sent += size
        self._held += more
        strangers.held += more
        return True

    def leave(self) -> None:
        """The client is known now, or gone; harmless when repeated."""
        self._strangers.held -= self._held
        self._held = 0
