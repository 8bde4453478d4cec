"""P20: how long a ping on a live socket waits for the station's loop while 500 MQTT clients publish
as fast as they can, against an idle station."""

from bench.echo_probe import EchoResult, EchoSpec
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
from bench.mqtt_load import MqttLoadResult
from bench.p06_mqtt import CLIENTS, WARM_UP_PER_CLIENT, MqttIntake
from bench.plan import Plan
from bench.processes import ProcessFailedError, Task, load_core, run_task
from bench.station import Station, log_in, request, running_station

PINGS = 2_500
INTERVAL_S = 0.002
TIME_LIMIT_S = 60.0
TARGET = Target(bound=20.0, at_most=True)
# A socket that is shown nothing: what is measured is the loop, not the fan-out.
PATH = "/ws/live-data?device_id=none"


class Responsiveness:
    """The publications of P6, and a probe beside them."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._intake = MqttIntake(plan)

    def idle(self) -> Measurement:
        return self._measure(flooded=False)

    def flooded(self) -> Measurement:
        return self._measure(flooded=True)

    def _measure(self, *, flooded: bool) -> Measurement:
        data_dir = self._plan.copy_template("p20-station")
        with running_station(
            data_dir, command=self._plan.station_command, log=self._plan.log("p20-station")
        ) as station:
            token = log_in(station.http_port)
            result = self._beside_flood(station, token) if flooded else self._probe(station, token)
        self._plan.discard("p20-station")
        if result.latencies is None:
            raise ProcessFailedError("no ping was answered")
        return measurement(result.latencies.p999_us / 1000, result)

    def _beside_flood(self, station: Station, token: str) -> EchoResult:
        flood = Task(
            "bench.mqtt_load",
            self._intake.spec(
                station.mqtt_port, server_pid=station.process.pid, time_limit_s=TIME_LIMIT_S
            ),
            result=MqttLoadResult,
            core=load_core(),
        )
        warm = CLIENTS * WARM_UP_PER_CLIENT
        station.process.wait_until(lambda: accepted(station.http_port, token) > warm)
        result = self._probe(station, token)
        still_flooded = accepted(station.http_port, token) < self._intake.messages
        if flood.result().lost or not still_flooded:
            raise ProcessFailedError("the publishers did not last as long as the probe")
        return result

    def _probe(self, station: Station, token: str) -> EchoResult:
        return run_task(
            "bench.echo_probe",
            EchoSpec(
                port=station.http_port,
                path=PATH,
                token=token,
                count=self._plan.size(PINGS),
                interval_s=INTERVAL_S,
                server_pid=station.process.pid,
            ),
            result=EchoResult,
            core=load_core(),
        )


def accepted(port: int, token: str) -> int:
    """Return how many readings the station has accepted since it started."""
    _, metrics = request(port, "GET", "/api/v1/system/metrics", token=token)
    return int(metrics["readings_accepted"])


def measure(plan: Plan) -> list[Finding]:
    """Alternate between a flooded station and an idle one."""
    probe = Responsiveness(plan)
    plan.say(f"P20: {plan.rounds} rounds with {CLIENTS} publishers and without")
    rounds = interleave(plan.rounds, {"flooded": probe.flooded, "idle": probe.idle})
    flooded = Side("flooded", Durability.FSYNC, "ms", rounds["flooded"])
    idle = Side("idle", Durability.NOTHING_STORED, "ms", rounds["idle"])
    work = f"echo on a live socket, p99.9, while {CLIENTS} MQTT clients publish"
    return [
        Finding(
            benchmark="P20",
            work=work,
            ours=flooded,
            peer=idle,
            figure_name="ms",
            figures=flooded.figures,
            target=TARGET,
            notes=[describe_cpu(flooded)],
        )
    ]
