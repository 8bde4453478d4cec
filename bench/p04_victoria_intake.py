"""P4: 1,000 readings a request, acknowledged after the commit, against VictoriaMetrics' import,
which answers from memory."""

from bench.findings import Finding, Target
from bench.plan import Plan
from bench.store_intake import VICTORIA_PEER, compare_intake

TARGET = Target(bound=0.4, stretch=0.8)


def measure(plan: Plan) -> list[Finding]:
    return compare_intake(plan, "P4", VICTORIA_PEER, batch=1_000, bodies=2_000, target=TARGET)
