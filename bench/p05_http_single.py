"""P5: one reading a request, 64 connections, acknowledged after the commit, against hello world."""

import math

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
from bench.http_load import HttpLoadResult, HttpLoadSpec
from bench.peer_servers import hello_world
from bench.plan import Plan
from bench.processes import load_core, run_task
from bench.spool import write_spool
from bench.station import count_stored, demand_stored, demand_success, running_station
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
        data_dir = self._plan.copy_template("p5-station")
        stored_before = count_stored(data_dir)
        with running_station(
            data_dir, command=self._plan.station_command, log=self._plan.log("p5-station")
        ) as station:
            result = run_task(
                "bench.http_load",
                HttpLoadSpec(
                    port=station.http_port,
                    spool=str(self.spool),
                    connections=CONNECTIONS,
                    warm_up=self.warm_up,
                    messages=self.messages,
                    duration_s=TIME_LIMIT_S,
                    rate_per_s=rate_per_s,
                    server_pid=station.process.pid,
                ),
                result=HttpLoadResult,
                core=load_core(),
            )
        demand_success(result, self.messages)
        demand_stored(data_dir, expected=stored_before + self._workload.new_readings)
        self._plan.discard("p5-station")
        return result

    def hello_world(self) -> Measurement:
        with hello_world(self._plan.work_dir) as peer:
            result = run_task(
                "bench.http_load",
                HttpLoadSpec(
                    port=peer.port,
                    spool=str(self._hello_spool),
                    connections=CONNECTIONS,
                    warm_up=self.warm_up,
                    messages=self.messages,
                    duration_s=TIME_LIMIT_S,
                    server_pid=peer.process.pid,
                ),
                result=HttpLoadResult,
                core=load_core(),
            )
        demand_success(result, self.messages)
        return measurement(result.per_s, result)


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
