"""Asking a running server the same question again and again, one connection or many."""

from bench.findings import Measurement, measurement
from bench.http_load import HttpLoadResult, HttpLoadSpec, demand_success, run_load
from bench.peer_servers import Peer
from bench.plan import Plan
from bench.processes import ProcessFailedError
from bench.spool import write_spool
from bench.station import Station

WARM_UP = 3
TIME_LIMIT_S = 120.0


def ask(
    plan: Plan,
    server: Station | Peer,
    question: bytes,
    *,
    times: int,
    connections: int = 1,
    warm_up: int = WARM_UP,
) -> HttpLoadResult:
    """Send a whole request ``times`` times after a warm-up; every answer must be a success."""
    spool = plan.work_dir / "question.spool"
    write_spool(spool, [question])
    port = server.http_port if isinstance(server, Station) else server.port
    result = run_load(
        HttpLoadSpec(
            port=port,
            spool=str(spool),
            connections=connections,
            warm_up=warm_up * connections,
            messages=times,
            duration_s=TIME_LIMIT_S,
            server_pid=server.process.pid,
        )
    )
    demand_success(result, sum(result.statuses.values()))
    return result


def median_ms(result: HttpLoadResult) -> Measurement:
    """Return the median latency in milliseconds."""
    if result.latencies is None:
        raise ProcessFailedError("nothing was answered")
    return measurement(result.latencies.p50_us / 1_000, result)
