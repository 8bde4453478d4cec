"""Intake of the same batches by the station and by a time series database, both over HTTP."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from bench.data import DEVICES, STORED_READINGS_PER_DEVICE
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
from bench.http_load import HttpLoadResult, HttpLoadSpec, send_all
from bench.peer_encoding import import_lines, line_protocol, post_import, post_lines
from bench.peer_servers import Peer
from bench.plan import Plan
from bench.processes import ProcessFailedError
from bench.spool import write_spool
from bench.station import DATA_AGE_S, PRELOAD_BODY_READINGS
from bench.store_peers import (
    INFLUXDB,
    VICTORIA_METRICS,
    influx_count,
    influxdb,
    missing,
    victoria_count,
    victoria_metrics,
)
from bench.workload import Workload, side_by_side

CONNECTIONS = 8
WARM_UP_READINGS = 100
TIME_LIMIT_S = 120.0
PRELOAD_TIME_LIMIT_S = 600.0


@dataclass(frozen=True, slots=True)
class StorePeer:
    """How to run a database, to give it readings of a device, and to count what it holds.

    ``repeats``: it keeps a reading that is sent twice as two.
    """

    name: str
    program: str
    written_by: str
    durability: Durability
    run: Callable[..., AbstractContextManager[Peer]]
    encode: Callable[..., bytes]
    request: Callable[[bytes], bytes]
    count: Callable[[int, int], int]
    repeats: bool


INFLUXDB_PEER = StorePeer(
    "InfluxDB",
    INFLUXDB,
    "/write",
    Durability.FSYNC,
    influxdb,
    line_protocol,
    post_lines,
    lambda port, _: influx_count(port),
    repeats=False,
)
VICTORIA_PEER = StorePeer(
    "VictoriaMetrics",
    VICTORIA_METRICS,
    "import",
    Durability.BUFFERED,
    victoria_metrics,
    import_lines,
    post_import,
    lambda port, base_s: victoria_count(port, start_s=base_s, end_s=base_s + DATA_AGE_S),
    repeats=True,
)


class StoreIntake:
    """Prepared work of one benchmark: ``bodies`` requests of ``batch`` readings each."""

    def __init__(self, plan: Plan, name: str, *, batch: int, bodies: int, peer: StorePeer) -> None:
        self._plan = plan
        self._name = name
        self._batch = batch
        self._peer = peer
        template = plan.template
        waves = math.ceil(plan.size(bodies) / DEVICES)
        plan.say(f"{name}: preparing {waves * DEVICES:,} bodies of {batch:,} readings")
        self._workload = side_by_side(
            base_s=template.base_s, devices=DEVICES, sizes=[WARM_UP_READINGS, *[batch] * waves]
        )
        self._spool = self._workload.write_requests(
            plan.work_dir / f"{name}.spool", template.identities
        )
        self._peer_spool = plan.work_dir / f"{name}-peer.spool"
        write_spool(self._peer_spool, peer_requests(peer, self._workload))
        self._peer_stored = preload(plan, peer, self._peer_template)

    def station(self) -> Measurement:
        name = f"{self._name}-station"
        with self._plan.station_storing(self._workload.new_readings, name=name) as station:
            result = self._load(station.http_port, self._spool, station.process.pid)
        return measurement(result.per_s * self._batch, result)

    def peer(self) -> Measurement:
        name = f"{self._name}-peer"
        directory = self._plan.copy(self._peer_template, name)
        with self._peer.run(directory, log=self._plan.log(name)) as peer:
            result = self._load(peer.port, self._peer_spool, peer.process.pid)
            held = self._peer_stored + readings_held(self._peer, self._workload)
            demand_held(self._peer, peer.port, base_s=self._workload.base_s, expected=held)
        self._plan.discard(name)
        return measurement(result.per_s * self._batch, result)

    @property
    def _peer_template(self) -> Path:
        return self._plan.work_dir / f"{self._name}-peer-template"

    def _load(self, port: int, spool: Path, server_pid: int) -> HttpLoadResult:
        return send_all(
            HttpLoadSpec(
                port=port,
                spool=str(spool),
                connections=CONNECTIONS,
                warm_up=DEVICES,
                messages=len(self._workload) - DEVICES,
                duration_s=TIME_LIMIT_S,
                server_pid=server_pid,
            )
        )


def compare_intake(
    plan: Plan, benchmark: str, peer: StorePeer, *, batch: int, bodies: int, target: Target
) -> list[Finding]:
    """Measure both in turns; nothing is found where the peer is not installed."""
    if reason := missing(peer.program):
        plan.skip(benchmark, peer.name, reason)
        return []
    intake = StoreIntake(plan, benchmark.lower(), batch=batch, bodies=bodies, peer=peer)
    plan.say(f"{benchmark}: {plan.rounds} rounds of station, {peer.name}")
    rounds = interleave(plan.rounds, {"station": intake.station, "peer": intake.peer})
    theirs = Side(f"{peer.name} {peer.written_by}", peer.durability, "readings/s", rounds["peer"])
    return [
        compare(
            benchmark,
            f"HTTP, {batch:,} readings a request, {CONNECTIONS} connections",
            ours=Side("station", Durability.FSYNC, "readings/s", rounds["station"]),
            peer=theirs,
            target=target,
            notes=[describe_cpu(theirs), f"without rules; {peer.name} without authentication"],
        )
    ]


def preload(plan: Plan, peer: StorePeer, directory: Path) -> int:
    """Store in a peer what the station's template holds; return how many readings it has then."""
    plan.say(f"storing 300 readings of 10,000 series in {directory.name}")
    sizes = [PRELOAD_BODY_READINGS] * (STORED_READINGS_PER_DEVICE // PRELOAD_BODY_READINGS)
    stored = side_by_side(base_s=plan.template.base_s, devices=DEVICES, sizes=sizes, start=0)
    spool = directory.with_suffix(".spool")
    messages = write_spool(spool, peer_requests(peer, stored))
    held = readings_held(peer, stored)
    with peer.run(directory, log=plan.log(directory.name)) as running:
        send_all(
            HttpLoadSpec(
                port=running.port,
                spool=str(spool),
                connections=CONNECTIONS,
                messages=messages,
                duration_s=PRELOAD_TIME_LIMIT_S,
            )
        )
        demand_held(peer, running.port, base_s=stored.base_s, expected=held)
    spool.unlink()
    return held


def peer_requests(peer: StorePeer, work: Workload) -> Iterator[bytes]:
    for message in work.messages:
        body = peer.encode(message.device, message.readings, base_s=work.base_s)
        yield peer.request(body)


def readings_held(peer: StorePeer, work: Workload) -> int:
    """Return how many readings a peer has more when it was sent all of this."""
    if peer.repeats:
        return sum(len(message.readings) for message in work.messages)
    return work.new_readings


def demand_held(peer: StorePeer, port: int, *, base_s: int, expected: int) -> None:
    held = peer.count(port, base_s)
    if held != expected:
        raise ProcessFailedError(f"{expected} readings were sent to the peer, it holds {held}")
