"""What the front door asks of whoever records spans."""

from typing import Protocol

from fieldstation.core.tracing import Trace


class Span(Protocol):
    """One request that is being served."""

    @property
    def trace(self) -> Trace: ...

    def end(self, *, method: str, route: str, status: int, correlation_id: str) -> None: ...


class Spans(Protocol):
    """Begins a span for each request; never blocks."""

    def begin(self, parent: Trace | None) -> Span: ...
