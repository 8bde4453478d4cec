"""P13: time from a commit to a live socket with 1,000 sockets and ten readings a second, against
one socket."""

from bench.findings import (
    Durability,
    Finding,
    Measurement,
    Side,
    Target,
    describe_cpu,
    interleave,
    measurement,
)
from bench.live_load import LiveLoadResult, LiveLoadSpec
from bench.p12_fanout import ENVIRONMENT, SOCKETS
from bench.plan import Plan
from bench.processes import ProcessFailedError, load_core, run_task
from bench.spool import write_spool
from bench.station import log_in, running_station
from bench.workload import device_by_device

RATE_PER_S = 10.0
READINGS = 300
WARM_UP = 10
RATIO_TARGET = Target(bound=3.0, at_most=True)
LATENCY_TARGET = Target(bound=25.0, first_step=50.0, at_most=True)


class LiveLatency:
    """Prepared work of this benchmark."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        template = plan.template
        self._messages = WARM_UP + plan.size(READINGS)
        work = device_by_device(base_s=template.base_s, devices=1, per_device=self._messages)
        self._requests = plan.work_dir / "p13-requests.spool"
        write_spool(self._requests, work.requests(template.identities))

    def crowd(self) -> Measurement:
        return self._measure(SOCKETS)

    def alone(self) -> Measurement:
        return self._measure(1)

    def _measure(self, sockets: int) -> Measurement:
        data_dir = self._plan.copy_template("p13-station")
        with running_station(
            data_dir,
            command=self._plan.station_command,
            log=self._plan.log("p13-station"),
            environment=ENVIRONMENT,
        ) as station:
            result = run_task(
                "bench.live_load",
                LiveLoadSpec(
                    port=station.http_port,
                    path="/ws",
                    sockets=sockets,
                    spool=str(self._requests),
                    messages=self._messages,
                    warm_up=WARM_UP,
                    token=log_in(station.http_port),
                    rate_per_s=RATE_PER_S,
                    timed=True,
                    server_pid=station.process.pid,
                ),
                result=LiveLoadResult,
                core=load_core(),
            )
        self._plan.discard("p13-station")
        return latency_measurement(result)


def latency_measurement(result: LiveLoadResult) -> Measurement:
    if result.latencies is None:
        raise ProcessFailedError("nothing was shown")
    return measurement(result.latencies.p99_us / 1000, result)


def measure(plan: Plan) -> list[Finding]:
    """Alternate between 1,000 sockets and one."""
    plan.say(f"P13: {plan.rounds} rounds of {SOCKETS} sockets and of one")
    latency = LiveLatency(plan)
    rounds = interleave(plan.rounds, {"crowd": latency.crowd, "alone": latency.alone})
    crowd = Side(f"{SOCKETS} sockets", Durability.FSYNC, "ms", rounds["crowd"])
    alone = Side("one socket", Durability.FSYNC, "ms", rounds["alone"])
    work = f"commit to socket, p99, {RATE_PER_S:g} readings/s"
    ratios = [many / one for many, one in zip(crowd.figures, alone.figures, strict=True)]
    return [
        Finding(
            benchmark="P13",
            work=work,
            ours=crowd,
            peer=alone,
            figure_name="p99 / p99",
            figures=ratios,
            target=RATIO_TARGET,
            notes=[describe_cpu(crowd)],
        ),
        Finding(
            benchmark="P13",
            work=work,
            ours=crowd,
            peer=None,
            figure_name="ms",
            figures=crowd.figures,
            target=LATENCY_TARGET,
        ),
    ]
