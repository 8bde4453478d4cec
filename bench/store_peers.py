"""The time series databases that the station is measured against, each on a free port."""

import http.client
import json
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from bench.peer_servers import Peer
from bench.processes import ProcessFailedError, ServerProcess, accepts_connections, free_port

INFLUXDB = "influxd"
VICTORIA_METRICS = "victoria-metrics"
DATABASE = "bench"
WRITE_PATH = f"/write?db={DATABASE}&precision=ms"
IMPORT_PATH = "/api/v1/import"
QUERY_TIMEOUT_S = 600.0
# As shipped, a write is fsynced before it is answered; only limits that a big question would meet
# are lifted, and what is written moves into compressed files after a second without writes.
INFLUXDB_CONFIGURATION = """\
reporting-disabled = true
bind-address = "127.0.0.1:{rpc_port}"
[meta]
  dir = "{directory}/meta"
[data]
  dir = "{directory}/data"
  wal-dir = "{directory}/wal"
  query-log-enabled = false
  cache-max-memory-size = "4g"
  cache-snapshot-write-cold-duration = "{cold}"
  compact-full-write-cold-duration = "{cold}"
[monitor]
  store-enabled = false
[http]
  bind-address = "127.0.0.1:{port}"
  log-enabled = false
[logging]
  level = "warn"
"""


def missing(program: str) -> str | None:
    """Return why a peer cannot run here, ``None`` if it can."""
    if shutil.which(program) is None:
        return f"{program} is not installed; bench/install-peers installs it"
    return None


@contextmanager
def influxdb(directory: Path, *, log: Path, cold: str = "10m") -> Iterator[Peer]:
    """Run InfluxDB 1.6 on a directory; with its database created."""
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    configuration = directory / "influxdb.conf"
    configuration.write_text(
        INFLUXDB_CONFIGURATION.format(
            port=port, rpc_port=free_port(), directory=directory, cold=cold
        )
    )
    with ServerProcess([INFLUXDB, "-config", str(configuration)], log=log) as process:
        process.wait_until(lambda: accepts_connections(port))
        call(port, "POST", f"/query?{urlencode({'q': f'CREATE DATABASE {DATABASE}'})}")
        yield Peer(process=process, port=port)


@contextmanager
def victoria_metrics(directory: Path, *, log: Path) -> Iterator[Peer]:
    """Run VictoriaMetrics on a directory, keeping readings for ten years."""
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = [
        VICTORIA_METRICS,
        f"-storageDataPath={directory}",
        f"-httpListenAddr=127.0.0.1:{port}",
        "-retentionPeriod=10y",
        "-loggerLevel=WARN",
    ]
    with ServerProcess(command, log=log) as process:
        process.wait_until(lambda: accepts_connections(port))
        yield Peer(process=process, port=port)


def influx_query_path(question: str) -> str:
    return f"/query?db={DATABASE}&q={quote(question)}"


def influx_question(picked: str, *, device: str, period_ms: tuple[int, int] | None = None) -> str:
    """Return InfluxQL that asks every measurement for something about one device."""
    conditions = [f"device='{device}'"]
    if period_ms is not None:
        conditions += [f"time>={period_ms[0]}ms", f"time<{period_ms[1]}ms"]
    return " ".join(["SELECT", picked, "FROM /.*/ WHERE", " AND ".join(conditions)])


def influx_count(port: int) -> int:
    """Return how many readings InfluxDB holds."""
    answer = json.loads(call(port, "GET", influx_query_path("SELECT count(value) FROM /.*/")))
    results = answer["results"][0].get("series", [])
    return sum(series["values"][0][1] for series in results)


def victoria_count(port: int, *, start_s: int, end_s: int) -> int:
    """Return how many readings VictoriaMetrics holds in ``[start_s, end_s]``, repeated ones too."""
    call(port, "GET", "/internal/force_flush")
    question = f'sum(count_over_time({{__name__!=""}}[{end_s - start_s + 1}s]))'
    path = f"/api/v1/query?{urlencode({'query': question, 'time': end_s, 'nocache': 1})}"
    found: list[Any] = json.loads(call(port, "GET", path))["data"]["result"]
    return int(found[0]["value"][1]) if found else 0


def call(port: int, method: str, path: str, *, body: bytes | None = None) -> bytes:
    """Make one request that must succeed; return the answer's content."""
    with closing(
        http.client.HTTPConnection("127.0.0.1", port, timeout=QUERY_TIMEOUT_S)
    ) as connection:
        connection.request(method, path, body=body)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status >= 300:
            raise ProcessFailedError(
                f"{method} {path} was answered with {answer.status}: {content!r}"
            )
        return content
