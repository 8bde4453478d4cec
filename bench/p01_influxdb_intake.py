"""P1: 100 readings a request, acknowledged after the commit, against InfluxDB's ``/write``."""

from bench.findings import Finding, Target
from bench.plan import Plan
from bench.store_intake import INFLUXDB_PEER, compare_intake

TARGET = Target(bound=1.0, stretch=1.5)


def measure(plan: Plan) -> list[Finding]:
    return compare_intake(plan, "P1", INFLUXDB_PEER, batch=100, bodies=20_000, target=TARGET)
