"""Sends a span of every request to an OpenTelemetry collector (the extra ``opentelemetry``)."""

import asyncio
from importlib import import_module
from typing import Any

from fieldstation import __version__
from fieldstation.core.settings import SettingsError, TracingSettings
from fieldstation.core.tracing import SAMPLED, Trace
from fieldstation.web.spans import Span

SERVER_ERROR = 500
CLOSE_TIMEOUT_S = 3.0
EXPORT_TIMEOUT_S = 2.0
SPANS_WAITING_MAX = 2_048
"""More are dropped: tracing never slows a request."""


class OpenTelemetrySpans:
    """Spans by OTLP over HTTP, in batches from a thread of the library's own."""

    def __init__(self, endpoint: str, *, service: str, node_id: str) -> None:
        sdk, resources, export, otlp = load_opentelemetry()
        self._api = import_module("opentelemetry.trace")
        resource = resources.Resource.create(
            {
                "service.name": service,
                "service.version": __version__,
                "service.instance.id": node_id,
            }
        )
        self._provider = sdk.TracerProvider(resource=resource, shutdown_on_exit=False)
        exporter = otlp.OTLPSpanExporter(
            endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_TIMEOUT_S
        )
        self._provider.add_span_processor(
            export.BatchSpanProcessor(exporter, max_queue_size=SPANS_WAITING_MAX)
        )
        self._tracer = self._provider.get_tracer("fieldstation", __version__)

    def begin(self, parent: Trace | None) -> Span:
        """Begin a span, below the caller's if there is one."""
        api = self._api
        context = None
        if parent is not None:
            remote = api.SpanContext(
                int(parent.trace_id, 16),
                int(parent.span_id, 16),
                is_remote=True,
                trace_flags=api.TraceFlags(parent.flags),
            )
            context = api.set_span_in_context(api.NonRecordingSpan(remote))
        span = self._tracer.start_span("request", context, kind=api.SpanKind.SERVER)
        return RequestSpan(span, api)

    async def close(self) -> None:
        """Send what waits, within a limit."""
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await asyncio.to_thread(self._provider.shutdown)
        except TimeoutError:
            return


class RequestSpan:
    """A span with the names of OpenTelemetry's HTTP conventions."""

    def __init__(self, span: Any, api: Any) -> None:
        self._span = span
        self._api = api

    @property
    def trace(self) -> Trace:
        context = self._span.get_span_context()
        flags = int(context.trace_flags) & SAMPLED
        return Trace(f"{context.trace_id:032x}", f"{context.span_id:016x}", flags)

    def end(self, *, method: str, route: str, status: int, correlation_id: str) -> None:
        self._span.update_name(f"{method} {route}")
        self._span.set_attributes(
            {
                "http.request.method": method,
                "http.route": route,
                "http.response.status_code": status,
                "fieldstation.correlation_id": correlation_id,
            }
        )
        if status >= SERVER_ERROR:
            self._span.set_status(self._api.StatusCode.ERROR)
        self._span.end()


def open_spans(settings: TracingSettings, *, node_id: str) -> OpenTelemetrySpans | None:
    """Return where spans go, or None when nobody asked for them. Raises ``SettingsError``."""
    if settings.endpoint is None:
        return None
    return OpenTelemetrySpans(settings.endpoint, service=settings.service, node_id=node_id)


def load_opentelemetry() -> tuple[Any, Any, Any, Any]:
    try:
        return (
            import_module("opentelemetry.sdk.trace"),
            import_module("opentelemetry.sdk.resources"),
            import_module("opentelemetry.sdk.trace.export"),
            import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter"),
        )
    except ImportError as error:
        raise SettingsError(
            "OTEL_EXPORTER_OTLP_ENDPOINT needs the extra: pip install 'fieldstation[opentelemetry]'"
        ) from error
