"""A request's trace goes on: in the answer, in log lines, and to an OpenTelemetry collector."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.clients import StationClient
from tests.station_process import running_station
from tests.wait_until import wait_until_blocking

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACED = {"traceparent": f"00-{TRACE}-{SPAN}-01"}


class Collector(ThreadingHTTPServer):
    """Takes what an OTLP exporter sends over HTTP, as a collector does."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Receiver)
        self.requests: list[ExportTraceServiceRequest] = []
        self.paths: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def spans(self) -> list[Span]:
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def services(self) -> set[str]:
        return {
            attribute.value.string_value
            for request in self.requests
            for resource in request.resource_spans
            for attribute in resource.resource.attributes
            if attribute.key == "service.name"
        }


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        request = ExportTraceServiceRequest()
        request.ParseFromString(body)
        assert isinstance(self.server, Collector)
        self.server.paths.append(self.path)
        self.server.requests.append(request)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's
        """Keep the tests' output clean."""


@contextmanager
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(10)


def test_a_trace_is_continued_in_the_answer(client: StationClient) -> None:
    version, trace_id, span_id, flags = (
        client.http.get("/health", headers=TRACED).headers["traceparent"].split("-")
    )
    assert (version, trace_id, flags) == ("00", TRACE, "01")
    assert span_id != SPAN
    assert "traceparent" not in client.http.get("/health").headers
    assert "traceparent" not in client.http.get("/", headers={"traceparent": "00-x"}).headers


def test_log_lines_name_the_trace_and_the_collector_gets_a_span(tmp_path: Path) -> None:
    with collector() as server:
        environment = {
            "LOG_LEVEL": "DEBUG",
            "LOG_FORMAT": "json",
            "OTEL_EXPORTER_OTLP_ENDPOINT": server.url,
            "OTEL_SERVICE_NAME": "greenhouse",
        }
        with running_station(tmp_path / "data", environment=environment) as station:
            answer = httpx2.get(
                f"{station.url}/api/v1/devices/x",
                headers={**TRACED, "X-Correlation-ID": "find-me-9"},
            )
            wait_until_blocking(lambda: "find-me-9" in station.output())
            (line,) = [line for line in station.lines if "find-me-9" in line]
            httpx2.get(f"{station.url}/health/live")
            station.stop()
        wait_until_blocking(lambda: len(server.spans()) >= 2)
    assert TRACE in line
    assert answer.headers["traceparent"].split("-")[1] == TRACE
    found = {span.name: span for span in server.spans()}
    span = found["GET /api/v1/devices/{device_id}"]
    attributes = {item.key: item.value for item in span.attributes}
    assert span.trace_id.hex() == TRACE
    assert span.parent_span_id.hex() == SPAN
    assert span.span_id.hex() == answer.headers["traceparent"].split("-")[2]
    assert span.kind == Span.SPAN_KIND_SERVER
    assert attributes["http.response.status_code"].int_value == answer.status_code == 401
    assert attributes["fieldstation.correlation_id"].string_value == "find-me-9"
    assert found["GET /health/live"].parent_span_id == b""
    assert server.services() == {"greenhouse"}
    assert set(server.paths) == {"/v1/traces"}


def test_a_collector_that_is_away_changes_nothing(tmp_path: Path) -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    with running_station(tmp_path / "data", environment=environment) as station:
        assert httpx2.get(f"{station.url}/health").status_code == 200
        assert station.stop() == 0


@pytest.mark.parametrize("endpoint", ["localhost:4318", "grpc://x"])
def test_an_endpoint_that_is_no_url_is_refused(tmp_path: Path, endpoint: str) -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
    with (
        pytest.raises(AssertionError, match="OTEL_EXPORTER_OTLP_ENDPOINT"),
        running_station(tmp_path / "data", environment=environment),
    ):
        pass
