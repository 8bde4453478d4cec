"""P2: 1,000 readings a request, acknowledged after the commit, against bare ``executemany``."""

import math
from contextlib import closing
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
from bench.http_load import HttpLoadSpec, send_all
from bench.plan import Plan
from bench.processes import run_task, server_core
from bench.raw_insert import RawInsertResult, RawInsertSpec, connect, insert, write_rows
from bench.workload import side_by_side

BATCH_READINGS = 1_000
WARM_UP_READINGS = 100
BODIES = 2_000
CONNECTIONS = 8
TIME_LIMIT_S = 120.0
PLAIN_TABLE = """
CREATE TABLE reading (
    minute INTEGER, series_id INTEGER, ts INTEGER, value REAL, flags INTEGER
)
"""
# The rows that a store without chunks would keep: one key a reading, clustered by time.
KEYED_TABLE = """
CREATE TABLE reading (
    minute INTEGER, series_id INTEGER, ts INTEGER, value REAL, flags INTEGER,
    PRIMARY KEY (minute, series_id, ts)
) WITHOUT ROWID
"""
PLAIN_INSERT = "INSERT INTO reading VALUES (?, ?, ?, ?, ?)"
KEYED_INSERT = "INSERT OR IGNORE INTO reading VALUES (?, ?, ?, ?, ?)"
ROWS_FILE = "rows.db"
# Two ceilings that stay the same whatever the store becomes.
TARGET = Target(bound=0.6, stretch=1.5, first_step=0.4)


class HttpBatch:
    """Prepared work and files of this benchmark."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._template = plan.template
        waves = math.ceil(plan.size(BODIES) / DEVICES)
        plan.say(f"P2: preparing {waves * DEVICES:,} bodies of {BATCH_READINGS:,} readings")
        self._workload = side_by_side(
            base_s=self._template.base_s,
            devices=DEVICES,
            sizes=[WARM_UP_READINGS, *[BATCH_READINGS] * waves],
        )
        self._spool = self._workload.write_requests(
            plan.work_dir / "p2.spool", self._template.identities
        )
        self._rows = plan.work_dir / "p2.rows"
        write_rows(self._rows, self._workload.rows())
        base_s = self._template.base_s
        self._plain = build_table(plan.work_dir / "plain", PLAIN_TABLE, base_s=base_s)
        self._keyed = build_table(plan.work_dir / "keyed", KEYED_TABLE, base_s=base_s)

    def station(self) -> Measurement:
        new = self._workload.new_readings
        with self._plan.station_storing(new, name="p2-station") as station:
            result = send_all(
                HttpLoadSpec(
                    port=station.http_port,
                    spool=str(self._spool),
                    connections=CONNECTIONS,
                    warm_up=DEVICES,
                    messages=len(self._workload) - DEVICES,
                    duration_s=TIME_LIMIT_S,
                    server_pid=station.process.pid,
                )
            )
        return measurement(result.per_s * BATCH_READINGS, result)

    def plain_table(self) -> Measurement:
        return self._raw_insert(self._plain, PLAIN_INSERT)

    def keyed_table(self) -> Measurement:
        return self._raw_insert(self._keyed, KEYED_INSERT)

    def _raw_insert(self, source: Path, statement: str) -> Measurement:
        directory = self._plan.copy(source, "p2-raw")
        result = run_task(
            "bench.raw_insert",
            RawInsertSpec(
                database=str(directory / source.name),
                statement=statement,
                rows=str(self._rows),
                batch_rows=BATCH_READINGS,
                warm_up=DEVICES * WARM_UP_READINGS,
            ),
            result=RawInsertResult,
            core=server_core(),
        )
        self._plan.discard("p2-raw")
        return measurement(result.per_s, result)


def build_table(directory: Path, definition: str, *, base_s: int) -> Path:
    """Store beforehand the same readings as the station holds."""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / ROWS_FILE
    stored = side_by_side(
        base_s=base_s, devices=DEVICES, sizes=[STORED_READINGS_PER_DEVICE], start=0
    )
    with closing(connect(file)) as connection:
        connection.execute(definition)
        insert(connection, KEYED_INSERT, list(stored.rows()), batch_rows=100_000)
    return file


def measure(plan: Plan) -> list[Finding]:
    """Compare with both tables; each round runs all three."""
    batch = HttpBatch(plan)
    plan.say(f"P2: {plan.rounds} rounds of station, plain table, keyed table")
    rounds = interleave(
        plan.rounds,
        {"station": batch.station, "plain": batch.plain_table, "keyed": batch.keyed_table},
    )
    work = f"HTTP, {BATCH_READINGS:,} readings a request, {CONNECTIONS} connections"
    ours = Side("station", Durability.FSYNC, "readings/s", rounds["station"])
    plain = Side("executemany, plain table", Durability.FSYNC, "rows/s", rounds["plain"])
    keyed = Side("executemany, keyed table", Durability.FSYNC, "rows/s", rounds["keyed"])
    return [
        compare("P2", work, ours=ours, peer=plain, target=TARGET, notes=[describe_cpu(plain)]),
        compare("P2", work, ours=ours, peer=keyed, target=TARGET, notes=[describe_cpu(keyed)]),
    ]
