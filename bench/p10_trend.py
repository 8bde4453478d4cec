"""P10: a device's hourly trend and stats of 30 days, against InfluxDB with the same readings."""

import json
from collections.abc import Callable, Iterator
from urllib.parse import urlencode

from bench.data import SENSORS
from bench.encoding import get_request
from bench.filling import Fleet, build_fleet, fill
from bench.findings import (
    Durability,
    Finding,
    Measurement,
    Side,
    Target,
    compare,
    describe_cpu,
    interleave,
)
from bench.peer_encoding import device_name
from bench.plan import Plan
from bench.processes import ProcessFailedError
from bench.questions import ask, median_ms
from bench.station import log_in, request, running_station
from bench.store_peers import (
    INFLUXDB,
    WRITE_PATH,
    call,
    influx_query_path,
    influx_question,
    influxdb,
    missing,
)
from bench.synthetic import US_PER_DAY, SyntheticSeries, Timing
from fieldstation.core.clock import SystemClock

DEVICES = 4
QUICK_DEVICES = 1
DAYS = 30
TIMING = Timing(interval_us=10_000_000, jitter_us=1_000_000)
LINES_PER_WRITE = 20_000
TIMES = 50
INFLUXDB_TIMES = 5
# An answer takes a quarter of a minute; the rounds are what is asked repeatedly.
INFLUXDB_STATS_TIMES = 1
TARGET = Target(bound=0.1, at_most=True)
TREND = "mean(value),min(value),max(value),count(value)"
STATS = (
    "count(value),min(value),max(value),mean(value),stddev(value),first(value),last(value),"
    "percentile(value,50),percentile(value,95)"
)


class TrendQuestions:
    """A station and an InfluxDB with the same 30 days."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._devices = QUICK_DEVICES if plan.quick else DEVICES
        end_us = SystemClock().now_us() // US_PER_DAY * US_PER_DAY
        self._period_ms = (end_us - DAYS * US_PER_DAY) // 1_000, end_us // 1_000
        self._influx = plan.work_dir / "p10-influxdb"
        plan.say(f"P10: storing {DAYS} days of {self._devices * len(SENSORS)} series, in both")
        self._fleet = build_fleet(plan, "p10-station", devices=self._devices, end_us=end_us)
        fill(self._fleet, TIMING, span_us=DAYS * US_PER_DAY)
        with influxdb(self._influx, log=plan.log("p10-influxdb"), cold="1s") as peer:
            for body in self._bodies(end_us):
                call(peer.port, "POST", WRITE_PATH, body=body)
        self._demand_same_counts(self._fleet)

    def station_trend(self) -> Measurement:
        trend = {"interval": "1h", "aggregate": "avg,min,max,count", **self._period}
        return self._station(f"/readings?{urlencode(trend)}")

    def station_stats(self) -> Measurement:
        return self._station(f"/readings/stats?{urlencode(self._period)}")

    def influx_trend(self) -> Measurement:
        trend = f"{self._question(TREND)} GROUP BY time(1h)"
        return self._influxdb(trend, times=self._plan.size(INFLUXDB_TIMES))

    def influx_stats(self) -> Measurement:
        return self._influxdb(self._question(STATS), times=INFLUXDB_STATS_TIMES)

    @property
    def _period(self) -> dict[str, int]:
        start_ms, end_ms = self._period_ms
        return {"start": start_ms, "end": end_ms}

    def _question(self, picked: str) -> str:
        return influx_question(picked, device=device_name(0), period_ms=self._period_ms)

    def _bodies(self, end_us: int) -> Iterator[bytes]:
        count = TIMING.count(DAYS * US_PER_DAY)
        for number in range(self._devices * len(SENSORS)):
            device, sensor = divmod(number, len(SENSORS))
            head = f"{SENSORS[sensor].sensor_type},device={device_name(device)} value="
            series = SyntheticSeries(number, TIMING, start_us=end_us - DAYS * US_PER_DAY)
            for at in range(0, count, LINES_PER_WRITE):
                ts_us, value = series.take(min(LINES_PER_WRITE, count - at))
                pairs = zip(value.tolist(), (ts_us // 1_000).tolist(), strict=True)
                yield "\n".join([f"{head}{v} {t}" for v, t in pairs]).encode()

    def _demand_same_counts(self, fleet: Fleet) -> None:
        """Raise unless both tell the same number of readings of the first device."""
        with running_station(
            fleet.data_dir, command=self._plan.station_command, log=self._plan.log("p10-station")
        ) as station:
            path = f"{self._device_path}/readings/stats?{urlencode(self._period)}"
            _, answer = request(station.http_port, "GET", path, token=log_in(station.http_port))
        ours = sum(item["count"] for item in answer["items"])
        with influxdb(self._influx, log=self._plan.log("p10-influxdb")) as peer:
            told = json.loads(
                call(peer.port, "GET", influx_query_path(self._question("count(value)")))
            )
        theirs = sum(series["values"][0][1] for series in told["results"][0]["series"])
        if ours != theirs:
            raise ProcessFailedError(f"the station counts {ours} readings, InfluxDB {theirs}")

    @property
    def _device_path(self) -> str:
        return f"/api/v1/devices/{self._fleet.identities[0].device_id}"

    def _station(self, path: str) -> Measurement:
        with running_station(
            self._fleet.data_dir,
            command=self._plan.station_command,
            log=self._plan.log("p10-station"),
        ) as station:
            whole = f"{self._device_path}{path}"
            question = get_request(whole, token=log_in(station.http_port))
            return median_ms(ask(self._plan, station, question, times=self._plan.size(TIMES)))

    def _influxdb(self, question: str, *, times: int) -> Measurement:
        with influxdb(self._influx, log=self._plan.log("p10-influxdb")) as peer:
            asked = get_request(influx_query_path(question))
            return median_ms(ask(self._plan, peer, asked, times=times, warm_up=1))


def measure(plan: Plan) -> list[Finding]:
    if reason := missing(INFLUXDB):
        plan.skip("P10", "InfluxDB", reason)
        return []
    asked = TrendQuestions(plan)
    plan.say(f"P10: {plan.rounds} rounds of trend and stats, station and InfluxDB")
    sides: dict[str, Callable[[], Measurement]] = {
        "station trend": asked.station_trend,
        "influxdb trend": asked.influx_trend,
        "station stats": asked.station_stats,
        "influxdb stats": asked.influx_stats,
    }
    rounds = interleave(plan.rounds, sides)
    found = []
    for name, work in (("trend", "hourly trend"), ("stats", "stats with p50 and p95")):
        influx = Side("InfluxDB", Durability.NOTHING_STORED, "ms", rounds[f"influxdb {name}"])
        found.append(
            compare(
                "P10",
                f"{DAYS}-day {work} of one device's ten series, one connection, p50",
                ours=Side("station", Durability.NOTHING_STORED, "ms", rounds[f"station {name}"]),
                peer=influx,
                target=TARGET,
                notes=[describe_cpu(influx)],
            )
        )
    return found
