"""W3C trace context: the trace that a request belongs to."""

import re
import secrets
from contextvars import ContextVar
from typing import NamedTuple

WRITTEN = re.compile(
    rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?\Z"
)
SPAN_BYTES = 8
SAMPLED = 1


class Trace(NamedTuple):
    """A trace and the span in it that is running."""

    trace_id: str
    span_id: str
    flags: int

    @property
    def header(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"

    def child(self) -> "Trace":
        """Return a span of ours below this one."""
        return self._replace(span_id=secrets.token_hex(SPAN_BYTES))


trace: ContextVar[Trace | None] = ContextVar("fieldstation_trace", default=None)


def parse_traceparent(header: bytes) -> Trace | None:
    """Read a ``traceparent``; None for one that no tracer would write."""
    match = WRITTEN.match(header.strip())
    if match is None or (match[1] == b"00" and match[5] is not None):
        return None
    return Trace(match[2].decode(), match[3].decode(), int(match[4], 16) & SAMPLED)
