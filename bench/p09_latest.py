"""P9: the newest readings of one device and of all 1,000: against hello world, and InfluxDB's
``last()``."""

from collections.abc import Callable
from functools import partial

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
from bench.peer_encoding import device_name
from bench.peer_servers import hello_world
from bench.plan import Plan
from bench.questions import ask, median_ms
from bench.station import log_in, running_station
from bench.store_intake import INFLUXDB_PEER, preload
from bench.store_peers import (
    INFLUXDB,
    influx_query_path,
    influx_question,
    influxdb,
    missing,
)

CONNECTIONS = 64
REQUESTS = 20_000
TIMES_ONE = 500
TIMES_ALL = 20
RATE_TARGET = Target(bound=0.6)
LATENCY_TARGET = Target(bound=0.1, at_most=True)
ALL_PATH = "/api/v1/readings/latest"
LAST_OF_ONE = influx_question("last(value)", device=device_name(0))
LAST_OF_ALL = "SELECT last(value) FROM /.*/ GROUP BY device"


class LatestQuestions:
    """Prepared work of this benchmark."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._one_path = f"/api/v1/devices/{plan.template.identities[0].device_id}/readings/latest"
        self._influx = plan.work_dir / "p9-influxdb"

    def prepare_influxdb(self) -> None:
        preload(self._plan, INFLUXDB_PEER, self._influx)

    def station_rate(self) -> Measurement:
        return self._station(self._one_path, times=self._plan.size(REQUESTS), many=True)

    def station_one(self) -> Measurement:
        return self._station(self._one_path, times=self._plan.size(TIMES_ONE))

    def station_all(self) -> Measurement:
        return self._station(ALL_PATH, times=self._plan.size(TIMES_ALL))

    def hello(self) -> Measurement:
        with hello_world(self._plan.work_dir) as peer:
            times = self._plan.size(REQUESTS)
            result = ask(self._plan, peer, get_request("/"), times=times, connections=CONNECTIONS)
        return measurement(result.per_s, result)

    def influx_one(self) -> Measurement:
        return self._influxdb(LAST_OF_ONE, times=self._plan.size(TIMES_ONE))

    def influx_all(self) -> Measurement:
        return self._influxdb(LAST_OF_ALL, times=self._plan.size(TIMES_ALL))

    def _station(self, path: str, *, times: int, many: bool = False) -> Measurement:
        data_dir = self._plan.copy_template("p9-station")
        with running_station(
            data_dir, command=self._plan.station_command, log=self._plan.log("p9-station")
        ) as station:
            question = get_request(path, token=log_in(station.http_port))
            connections = CONNECTIONS if many else 1
            result = ask(self._plan, station, question, times=times, connections=connections)
        self._plan.discard("p9-station")
        return measurement(result.per_s, result) if many else median_ms(result)

    def _influxdb(self, question: str, *, times: int) -> Measurement:
        with influxdb(self._influx, log=self._plan.log("p9-influxdb")) as peer:
            asked = get_request(influx_query_path(question))
            return median_ms(ask(self._plan, peer, asked, times=times))


def measure(plan: Plan) -> list[Finding]:
    latest = LatestQuestions(plan)
    sides: dict[str, Callable[[], Measurement]] = {
        "station": latest.station_rate,
        "hello": latest.hello,
    }
    reason = missing(INFLUXDB)
    if reason:
        plan.skip("P9", "InfluxDB last()", reason)
    else:
        latest.prepare_influxdb()
        sides |= {
            "station one": latest.station_one,
            "influxdb one": latest.influx_one,
            "station all": latest.station_all,
            "influxdb all": latest.influx_all,
        }
    plan.say(f"P9: {plan.rounds} rounds of {', '.join(sides)}")
    rounds = interleave(plan.rounds, sides)
    beside = Side("FastAPI hello world", Durability.NOTHING_STORED, "requests/s", rounds["hello"])
    side = partial(Side, "station", Durability.NOTHING_STORED)
    found = [
        compare(
            "P9",
            f"newest of one device's ten series, {CONNECTIONS} connections",
            ours=side("requests/s", rounds["station"]),
            peer=beside,
            target=RATE_TARGET,
            notes=[describe_cpu(beside)],
        )
    ]
    for name, work in (("one", "one device"), ("all", "all 1,000 devices")):
        if not reason:
            influx = Side(
                "InfluxDB last()", Durability.NOTHING_STORED, "ms", rounds[f"influxdb {name}"]
            )
            found.append(
                compare(
                    "P9",
                    f"newest of {work}, one connection, p50",
                    ours=side("ms", rounds[f"station {name}"]),
                    peer=influx,
                    target=LATENCY_TARGET,
                    notes=[describe_cpu(influx)],
                )
            )
    return found
