"""P4: 1,000 readings a request, acknowledged after the commit, against VictoriaMetrics' import,
which answers from memory."""

from bench.findings import Durability, Finding, Side, Target, compare, describe_cpu, interleave
from bench.plan import Plan
from bench.store_intake import CONNECTIONS, VICTORIA_PEER, StoreIntake
from bench.store_peers import VICTORIA_METRICS, missing

BATCH_READINGS = 1_000
BODIES = 2_000
TARGET = Target(bound=0.4, stretch=0.8)


def measure(plan: Plan) -> list[Finding]:
    if reason := missing(VICTORIA_METRICS):
        plan.skip("P4", "VictoriaMetrics", reason)
        return []
    intake = StoreIntake(plan, "p4", batch=BATCH_READINGS, bodies=BODIES, peer=VICTORIA_PEER)
    plan.say(f"P4: {plan.rounds} rounds of station, VictoriaMetrics")
    rounds = interleave(plan.rounds, {"station": intake.station, "victoria": intake.peer})
    victoria = Side("VictoriaMetrics import", Durability.BUFFERED, "readings/s", rounds["victoria"])
    return [
        compare(
            "P4",
            f"HTTP, {BATCH_READINGS:,} readings a request, {CONNECTIONS} connections",
            ours=Side("station", Durability.FSYNC, "readings/s", rounds["station"]),
            peer=victoria,
            target=TARGET,
            notes=[describe_cpu(victoria), "without rules; VictoriaMetrics without authentication"],
        )
    ]
