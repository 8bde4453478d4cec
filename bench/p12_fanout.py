"""P12: frames shown a second on 1,000 live sockets, eight readings in flight, against a bare loop
that writes ready frames of the same size and against ``send_json``."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

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
from bench.live_load import LiveLoadResult, LiveLoadSpec
from bench.plan import Plan
from bench.processes import (
    ProcessFailedError,
    ServerProcess,
    accepts_connections,
    free_port,
    load_core,
    run_task,
)
from bench.spool import write_spool
from bench.station import log_in, running_station
from bench.workload import device_by_device

SOCKETS = 1_000
READINGS = 500
WARM_UP = 10
IN_FLIGHT = 8
FRAME_BYTES = 417
BARE_TARGET = Target(bound=0.8)
NAIVE_TARGET = Target(bound=5.0)
ENVIRONMENT = {
    "WS_SOCKETS_PER_USER_MAX": str(SOCKETS + 10),
    "WS_SOCKETS_PER_ORGANIZATION_MAX": str(SOCKETS + 10),
}


class FanOut:
    """Prepared work of this benchmark."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        template = plan.template
        self._messages = WARM_UP + plan.size(READINGS)
        work = device_by_device(base_s=template.base_s, devices=1, per_device=self._messages)
        self._requests = plan.work_dir / "p12-requests.spool"
        write_spool(self._requests, work.requests(template.identities))
        self._triggers = plan.work_dir / "p12-triggers.spool"
        trigger = get_request("/").replace(b"GET", b"POST", 1)
        write_spool(self._triggers, [trigger] * self._messages)
        self._missing_readings = self._messages - work.new_readings

    def station(self, *, in_flight: int = IN_FLIGHT) -> Measurement:
        data_dir = self._plan.copy_template("p12-station")
        with running_station(
            data_dir,
            command=self._plan.station_command,
            log=self._plan.log("p12-station"),
            environment=ENVIRONMENT,
        ) as station:
            result = self._load(
                station.http_port,
                self._requests,
                token=log_in(station.http_port),
                server_pid=station.process.pid,
                in_flight=in_flight,
            )
        self._plan.discard("p12-station")
        # A reading that was sent twice is shown once.
        if result.missing > self._missing_readings * SOCKETS:
            raise ProcessFailedError(f"{result.missing} frames were not shown")
        return measurement(result.per_s, result)

    def bare_loop(self, *, in_flight: int = IN_FLIGHT) -> Measurement:
        port = free_port()
        module = [sys.executable, "-m", "bench.fanout_peers", str(port), str(FRAME_BYTES)]
        return self._peer(port, module, in_flight=in_flight)

    def send_json(self) -> Measurement:
        port = free_port()
        options = ["--port", str(port), "--log-level", "warning", "--ws", "websockets-sansio"]
        command = [sys.executable, "-m", "uvicorn", "bench.fanout_peers:app", *options]
        return self._peer(port, command, in_flight=IN_FLIGHT)

    def _peer(self, port: int, command: list[str], *, in_flight: int) -> Measurement:
        with self._running(port, command) as process:
            result = self._load(
                port, self._triggers, token=None, server_pid=process.pid, in_flight=in_flight
            )
        if result.missing:
            raise ProcessFailedError(f"{result.missing} frames were not shown")
        return measurement(result.per_s, result)

    @contextmanager
    def _running(self, port: int, command: list[str]) -> Iterator[ServerProcess]:
        directory = Path(__file__).parent.parent
        with ServerProcess(command, log=self._plan.log("p12-peer"), directory=directory) as process:
            process.wait_until(lambda: accepts_connections(port))
            yield process

    def _load(
        self, port: int, spool: Path, *, token: str | None, server_pid: int, in_flight: int
    ) -> LiveLoadResult:
        return run_task(
            "bench.live_load",
            LiveLoadSpec(
                port=port,
                path="/ws",
                sockets=SOCKETS,
                spool=str(spool),
                messages=self._messages,
                warm_up=WARM_UP,
                polls=True,
                in_flight=in_flight,
                token=token,
                server_pid=server_pid,
            ),
            result=LiveLoadResult,
            core=load_core(),
        )


def measure(plan: Plan) -> list[Finding]:
    """Alternate between the station and both loops."""
    plan.say(f"P12: {plan.rounds} rounds of {SOCKETS} sockets: station, bare loop, send_json")
    fan_out = FanOut(plan)
    rounds = interleave(
        plan.rounds,
        {
            "station": fan_out.station,
            "bare loop": fan_out.bare_loop,
            "send_json": fan_out.send_json,
            "station, one by one": partial(fan_out.station, in_flight=1),
            "bare loop, one by one": partial(fan_out.bare_loop, in_flight=1),
        },
    )
    return [
        finding(rounds, "station", "bare loop", BARE_TARGET),
        finding(rounds, "station", "send_json", NAIVE_TARGET),
        finding(rounds, "station, one by one", "bare loop, one by one", BARE_TARGET),
    ]


def finding(
    rounds: Mapping[str, list[Measurement]], ours: str, peer: str, target: Target
) -> Finding:
    beside = Side(peer, Durability.NOTHING_STORED, "frames/s", rounds[peer])
    in_flight = 1 if "one by one" in ours else IN_FLIGHT
    return compare(
        "P12",
        f"readings one a request, {in_flight} in flight, stored, then shown on {SOCKETS} sockets",
        ours=Side(ours, Durability.FSYNC, "frames/s", rounds[ours]),
        peer=beside,
        target=target,
        notes=[describe_cpu(beside)],
    )
