"""P7: time to an acknowledgement at 70 % of the peak, open loop, against a bare fdatasync."""

from typing import Any

from bench.fdatasync_probe import ProbeResult, ProbeSpec
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
from bench.http_load import HttpLoadResult
from bench.p05_http_single import CONNECTIONS, HttpSingle
from bench.plan import Plan
from bench.processes import ProcessFailedError, run_task, server_core
from bench.spread import median

LOAD_SHARE = 0.7
PROBE_RECORDS = 5_000
P99_ALLOWANCE_US = 5_000.0
P50_TARGET = Target(bound=3.0, at_most=True)
P99_TARGET = Target(bound=2.0, at_most=True)


class AcknowledgementLatency:
    """The single-reading workload at a fixed rate, and the probe."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._single = HttpSingle(plan)
        peaks = [self._single.station().figure for _ in range(2)]
        self.rate_per_s = LOAD_SHARE * median(peaks)

    def station(self) -> Measurement:
        result: HttpLoadResult = self._single.run_station(rate_per_s=self.rate_per_s)
        if result.latencies is None:
            raise ProcessFailedError("the station answered nothing")
        return measurement(result.latencies.p50_us, result)

    def fdatasync(self) -> Measurement:
        result = run_task(
            "bench.fdatasync_probe",
            ProbeSpec(
                file=str(self._plan.work_dir / "probe.bin"),
                records=self._plan.size(PROBE_RECORDS),
            ),
            result=ProbeResult,
            core=server_core(),
        )
        if result.latencies is None:
            raise ProcessFailedError("the probe wrote nothing")
        return measurement(result.latencies.p50_us, result)


def measure(plan: Plan) -> list[Finding]:
    """Find the peak first, then alternate between load and probe."""
    plan.say("P7: finding the peak")
    latency = AcknowledgementLatency(plan)
    plan.say(f"P7: {plan.rounds} rounds at {latency.rate_per_s:,.0f} requests/s, and of fdatasync")
    rounds = interleave(plan.rounds, {"station": latency.station, "fdatasync": latency.fdatasync})
    work = f"1 reading a request, {latency.rate_per_s:,.0f}/s, open loop, {CONNECTIONS} connections"
    delays = median([part.detail["send_delays"]["p99_us"] for part in rounds["station"]])
    notes = [
        describe_cpu(Side("station", Durability.FSYNC, "µs", rounds["station"])),
        f"the load generator itself was late by {delays:,.0f} µs (p99), which is counted in",
    ]
    return [
        finding("p50_us", "p50 / p50", work, rounds, target=P50_TARGET, notes=notes),
        finding(
            "p99_us",
            "(p99 - 5 ms) / p99",
            work,
            rounds,
            target=P99_TARGET,
            allowance_us=P99_ALLOWANCE_US,
        ),
    ]


def finding(
    key: str,
    figure_name: str,
    work: str,
    rounds: dict[str, list[Measurement]],
    *,
    target: Target,
    allowance_us: float = 0.0,
    notes: list[str] | None = None,
) -> Finding:
    """Compare one percentile; an allowance is taken off ours first."""
    ours = percentile_side("station", rounds["station"], key)
    bare = percentile_side("fdatasync", rounds["fdatasync"], key)
    return Finding(
        benchmark="P7",
        work=f"{key.removesuffix('_us')} of the acknowledgement: {work}",
        ours=ours,
        peer=bare,
        figure_name=figure_name,
        figures=[
            max(mine - allowance_us, 0.0) / other
            for mine, other in zip(ours.figures, bare.figures, strict=True)
        ],
        target=target,
        notes=notes or [],
    )


def percentile_side(name: str, measured: list[Measurement], key: str) -> Side:
    return Side(
        name,
        Durability.FSYNC,
        "µs",
        [Measurement(figure=latency_of(part.detail, key), detail=part.detail) for part in measured],
    )


def latency_of(detail: dict[str, Any], key: str) -> float:
    return float(detail["latencies"][key])
