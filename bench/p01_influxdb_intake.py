"""P1: 100 readings a request, acknowledged after the commit, against InfluxDB's ``/write``."""

from bench.findings import Durability, Finding, Side, Target, compare, describe_cpu, interleave
from bench.plan import Plan
from bench.store_intake import CONNECTIONS, INFLUXDB_PEER, StoreIntake
from bench.store_peers import INFLUXDB, missing

BATCH_READINGS = 100
BODIES = 20_000
TARGET = Target(bound=1.0, stretch=1.5)


def measure(plan: Plan) -> list[Finding]:
    if reason := missing(INFLUXDB):
        plan.skip("P1", "InfluxDB", reason)
        return []
    intake = StoreIntake(plan, "p1", batch=BATCH_READINGS, bodies=BODIES, peer=INFLUXDB_PEER)
    plan.say(f"P1: {plan.rounds} rounds of station, InfluxDB")
    rounds = interleave(plan.rounds, {"station": intake.station, "influxdb": intake.peer})
    influx = Side("InfluxDB /write", Durability.FSYNC, "readings/s", rounds["influxdb"])
    return [
        compare(
            "P1",
            f"HTTP, {BATCH_READINGS} readings a request, {CONNECTIONS} connections",
            ours=Side("station", Durability.FSYNC, "readings/s", rounds["station"]),
            peer=influx,
            target=TARGET,
            notes=[describe_cpu(influx), "without rules; InfluxDB without authentication"],
        )
    ]
