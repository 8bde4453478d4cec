"""P16: from the command to the first answer, and from kill -9 to the next stored reading."""

import http.client
import time
from collections.abc import Callable
from pathlib import Path

from bench.data import DEVICES
from bench.findings import Durability, Finding, Measurement, Side, Target, interleave
from bench.http_load import HttpLoadResult, HttpLoadSpec
from bench.plan import Plan
from bench.processes import Task, load_core
from bench.station import TELEMETRY_FILE, is_healthy, request, running_station
from bench.workload import side_by_side

COLD_START_TARGET = Target(bound=2.0, at_most=True)
RECOVERY_TARGET = Target(bound=3.0, at_most=True)
LOAD_CONNECTIONS = 64
LOAD_TIME_LIMIT_S = 30.0
LOAD_BEFORE_KILL_S = 1.5
LOAD_PER_DEVICE = 100


class Start:
    """Starts the station in three situations."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        template = plan.template
        self._identity = template.identities[0]
        workload = side_by_side(
            base_s=template.base_s, devices=DEVICES, sizes=[1] * LOAD_PER_DEVICE
        )
        self._spool = workload.write_requests(plan.work_dir / "p16.spool", template.identities)
        self._messages = len(workload)

    def first_start(self) -> Measurement:
        """Start on nothing: the databases are made first."""
        return self._time_to_health(self._plan.discard("p16-empty"))

    def cold_start(self) -> Measurement:
        """Start on three million stored readings."""
        return self._time_to_health(self._plan.copy_template("p16-stored"))

    def recovery(self) -> Measurement:
        """Kill the station under load, start it again, and wait for the next acknowledgement."""
        data_dir = self._plan.copy_template("p16-killed")
        with running_station(
            data_dir, command=self._plan.station_command, log=self._plan.log("p16-killed")
        ) as station:
            load = Task(
                "bench.http_load",
                HttpLoadSpec(
                    port=station.http_port,
                    spool=str(self._spool),
                    connections=LOAD_CONNECTIONS,
                    messages=self._messages,
                    duration_s=LOAD_TIME_LIMIT_S,
                ),
                result=HttpLoadResult,
                core=load_core(),
            )
            station.process.wait_until(lambda: log_bytes(data_dir) > 0)
            time.sleep(LOAD_BEFORE_KILL_S)
            started = time.perf_counter()
            station.process.kill()
        cut = load.result()
        with running_station(
            data_dir,
            command=self._plan.station_command,
            log=self._plan.log("p16-killed"),
            wait=False,
        ) as station:
            station.process.wait_until(lambda: is_healthy(station.http_port))
            healthy_s = time.perf_counter() - started
            station.process.wait_until(lambda: self._stores(station.http_port))
            stored_s = time.perf_counter() - started
        self._plan.discard("p16-killed")
        detail = {
            "healthy_s": healthy_s,
            "acknowledged_before_kill": cut.succeeded,
            "requests_cut_off": cut.lost,
        }
        return Measurement(figure=stored_s, detail=detail)

    def _time_to_health(self, data_dir: Path) -> Measurement:
        started = time.perf_counter()
        with running_station(
            data_dir, command=self._plan.station_command, log=self._plan.log("p16-start")
        ):
            elapsed_s = time.perf_counter() - started
        self._plan.discard(data_dir.name)
        return Measurement(figure=elapsed_s, detail={})

    def _stores(self, port: int) -> bool:
        path = f"/api/v1/devices/{self._identity.device_id}/readings"
        body = {"sensor_type": "temperature", "value": 20.0}
        try:
            status, _ = request(port, "POST", path, body=body, token=self._identity.api_key)
        except (OSError, http.client.HTTPException):
            return False
        return status == 201


def log_bytes(data_dir: Path) -> int:
    """Return the size of SQLite's write-ahead log: it grows with the first commit."""
    log = data_dir / f"{TELEMETRY_FILE}-wal"
    return log.stat().st_size if log.exists() else 0


def measure(plan: Plan) -> list[Finding]:
    start = Start(plan)
    plan.say(f"P16: {plan.rounds} rounds of starts and kills")
    sides: dict[str, Callable[[], Measurement]] = {
        "first start, empty directory": start.first_start,
        "cold start, 3 M readings stored": start.cold_start,
        "kill -9 under load → next reading stored": start.recovery,
    }
    rounds = interleave(plan.rounds, sides)
    return [
        Finding(
            benchmark="P16",
            work=work,
            ours=Side("station", Durability.FSYNC, "s", measured),
            peer=None,
            figure_name="seconds",
            figures=[part.figure for part in measured],
            target=RECOVERY_TARGET if "kill" in work else COLD_START_TARGET,
        )
        for work, measured in rounds.items()
    ]
