"""P5: one reading a request, 64 connections, acknowledged after the commit, against hello world."""

import math
from pathlib import Path

from bench.data import DEVICES
from bench.encoding import get_request
from bench.findings import (
    Durability,
    Finding,
    Measurement,
    Side,
    Target,
    compare,
    describe_cpu,
    interleave,
    measurement,
)
from bench.http_load import HttpLoadResult, HttpLoadSpec, send_all
from bench.peer_servers import hello_world
from bench.plan import Plan
from bench.spool import write_spool
from bench.workload import side_by_side

CONNECTIONS = 64
REQUESTS = 50_000
# One request for each series: a running station knows its series.
WARM_UP_PER_DEVICE = 10
TIME_LIMIT_S = 60.0
TARGET = Target(bound=0.6, stretch=1.0, first_step=0.4)


class HttpSingle:
    """Prepared work and files of this benchmark."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        template = plan.template
        per_device = WARM_UP_PER_DEVICE + math.ceil(plan.size(REQUESTS) / DEVICES)
        self._workload = side_by_side(
            base_s=template.base_s, devices=DEVICES, sizes=[1] * per_device
        )
        self.spool = self._workload.write_requests(plan.work_dir / "p5.spool", template.identities)
        self._hello_spool = plan.work_dir / "hello.spool"
        write_spool(self._hello_spool, [get_request("/")])
        self.warm_up = WARM_UP_PER_DEVICE * DEVICES
        self.messages = len(self._workload) - self.warm_up

    def station(self) -> Measurement:
        result = self.run_station(rate_per_s=None)
        return measurement(result.per_s, result)

    def run_station(self, *, rate_per_s: float | None) -> HttpLoadResult:
        """Send all to a fresh copy, as fast as it goes or at a rate, and check what it stored."""
        new = self._workload.new_readings
        with self._plan.station_storing(new, name="p5-station") as station:
            return self._send(self.spool, station.http_port, station.process.pid, rate_per_s)

    def hello_world(self) -> Measurement:
        with hello_world(self._plan.work_dir) as peer:
            result = self._send(self._hello_spool, peer.port, peer.process.pid, None)
        return measurement(result.per_s, result)

    def _send(
        self, spool: Path, port: int, server_pid: int, rate_per_s: float | None
    ) -> HttpLoadResult:
        return send_all(
            HttpLoadSpec(
                port=port,
                spool=str(spool),
                connections=CONNECTIONS,
                warm_up=self.warm_up,
                messages=self.messages,
                duration_s=TIME_LIMIT_S,
                rate_per_s=rate_per_s,
                server_pid=server_pid,
            )
        )


def measure(plan: Plan) -> list[Finding]:
    single = HttpSingle(plan)
    plan.say(f"P5: {plan.rounds} rounds of station, hello world")
    rounds = interleave(plan.rounds, {"station": single.station, "hello": single.hello_world})
    hello = Side("FastAPI hello world", Durability.NOTHING_STORED, "requests/s", rounds["hello"])
    return [
        compare(
            "P5",
            f"HTTP, 1 reading a request, {CONNECTIONS} connections",
            ours=Side("station", Durability.FSYNC, "requests/s", rounds["station"]),
            peer=hello,
            target=TARGET,
            notes=[describe_cpu(hello)],
        )
    ]
