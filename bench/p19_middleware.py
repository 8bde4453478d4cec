"""P19: the CPU time that the middleware adds to a request of a bare route."""

from bench.findings import Durability, Finding, Measurement, Side, Target, interleave, measurement
from bench.middleware_cost import MiddlewareResult, MiddlewareSpec
from bench.plan import Plan
from bench.processes import run_task, server_core

REQUESTS = 50_000
TARGET = Target(bound=0.05, stretch=0.03, at_most=True)


def measure(plan: Plan) -> list[Finding]:
    plan.say(f"P19: {plan.rounds} rounds with and without the front door")

    def run(*, behind_door: bool) -> Measurement:
        spec = MiddlewareSpec(requests=plan.size(REQUESTS), behind_door=behind_door)
        result = run_task(
            "bench.middleware_cost", spec, result=MiddlewareResult, core=server_core()
        )
        return measurement(result.cpu_ms, result)

    rounds = interleave(
        plan.rounds,
        {"door": lambda: run(behind_door=True), "bare": lambda: run(behind_door=False)},
    )
    ours = Side("front door", Durability.NOTHING_STORED, "ms CPU/request", rounds["door"])
    bare = Side("bare route", Durability.NOTHING_STORED, "ms CPU/request", rounds["bare"])
    added = [
        with_.figure - without.figure
        for with_, without in zip(ours.rounds, bare.rounds, strict=True)
    ]
    return [
        Finding(
            benchmark="P19",
            work="every rule on, a known device behind a proxy",
            ours=ours,
            peer=bare,
            figure_name="ms added",
            figures=added,
            target=TARGET,
        )
    ]
