"""P3: 1,000 readings a request, acknowledged after PostgreSQL's commit, against raw COPY: of the
same rows into a plain table, into one with a key, and of the entries that the station writes."""

import asyncio
import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

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
from bench.postgresql import (
    count_in_postgresql,
    execute,
    missing_postgresql,
    own_database,
    url_of,
)
from bench.processes import ProcessFailedError, run_task, server_core
from bench.raw_copy import RawCopySpec
from bench.raw_insert import RawInsertResult, write_rows
from bench.station import Template, build_template, running_station
from bench.workload import side_by_side

BATCH_READINGS = 1_000
WARM_UP_READINGS = 100
BODIES = 2_000
CONNECTIONS = 8
TIME_LIMIT_S = 120.0
TARGET = Target(bound=0.5, stretch=0.8)
COLUMNS = "minute bigint, series_id bigint, ts bigint, value double precision, flags integer"


@dataclass(frozen=True, slots=True)
class Table:
    """A table for COPY; ``packed`` ones take a batch as one entry."""

    title: str
    definition: str
    packed: bool = False


TABLES = {
    "plain": Table("COPY, plain table", f"CREATE TABLE plain ({COLUMNS})"),
    "keyed": Table(
        "COPY, keyed table",
        f"CREATE TABLE keyed ({COLUMNS}, PRIMARY KEY (minute, series_id, ts))",
    ),
    "entries": Table(
        "COPY, packed entries",
        "CREATE TABLE entries (id bigserial PRIMARY KEY, readings bytea NOT NULL)",
        packed=True,
    ),
}


class PostgresqlIntake:
    """Prepared work of this benchmark; its databases exist until ``stack`` ends."""

    def __init__(self, plan: Plan, stack: ExitStack) -> None:
        self._plan = plan
        self._database = stack.enter_context(own_database())
        plan.say("P3: storing 300 readings of 10,000 series in PostgreSQL, station and tables")
        self._template: Template = build_template(
            plan.work_dir / "p3-template",
            command=plan.station_command,
            log=plan.log("p3-template"),
            environment={"DATABASE_URL": url_of(self._database)},
        )
        self._stored = count_in_postgresql(self._database)
        base_s = self._template.base_s
        waves = math.ceil(plan.size(BODIES) / DEVICES)
        self._workload = side_by_side(
            base_s=base_s,
            devices=DEVICES,
            sizes=[WARM_UP_READINGS, *[BATCH_READINGS] * waves],
        )
        self._spool = self._workload.write_requests(
            plan.work_dir / "p3.spool", self._template.identities
        )
        # A key takes each reading once, and COPY cannot pass over one that is there.
        new = self._workload.without_repeated()
        self._rows = plan.work_dir / "p3.rows"
        self._rows_warm_up = sum(len(message.readings) for message in new.messages[:DEVICES])
        write_rows(self._rows, new.rows())
        self._tables = stack.enter_context(own_database())
        self._fill_tables()

    def station(self) -> Measurement:
        data_dir = self._plan.copy(self._template.data_dir, "p3-station")
        with own_database(self._database) as database:
            with running_station(
                data_dir,
                command=self._plan.station_command,
                log=self._plan.log("p3-station"),
                environment={"DATABASE_URL": url_of(database)},
            ) as station:
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
            stored = count_in_postgresql(database)
        expected = self._stored + self._workload.new_readings
        if stored != expected:
            raise ProcessFailedError(f"{expected} readings were acknowledged, {stored} are stored")
        return measurement(result.per_s * BATCH_READINGS, result)

    def copy(self, name: str) -> Measurement:
        with own_database(self._tables) as database:
            result = self._copy(database, name, rows=str(self._rows), warm_up=self._rows_warm_up)
        return measurement(result.per_s, result)

    def _copy(self, database: str, name: str, *, rows: str, warm_up: int) -> RawInsertResult:
        spec = RawCopySpec(
            database_url=url_of(database),
            table=name,
            rows=rows,
            batch_rows=BATCH_READINGS,
            warm_up=warm_up,
            packed=TABLES[name].packed,
        )
        return run_task("bench.raw_copy", spec, result=RawInsertResult, core=server_core())

    def _fill_tables(self) -> None:
        stored = side_by_side(
            base_s=self._template.base_s,
            devices=DEVICES,
            sizes=[STORED_READINGS_PER_DEVICE],
            start=0,
        ).without_repeated()
        rows = self._plan.work_dir / "p3-stored.rows"
        write_rows(rows, stored.rows())
        for name, table in TABLES.items():
            asyncio.run(execute(table.definition, database=self._tables))
            self._copy(self._tables, name, rows=str(rows), warm_up=0)
        rows.unlink()


def measure(plan: Plan) -> list[Finding]:
    if reason := missing_postgresql():
        plan.skip("P3", "COPY", reason)
        return []
    with ExitStack() as stack:
        intake = PostgresqlIntake(plan, stack)
        plan.say(f"P3: {plan.rounds} rounds of station and COPY into {', '.join(TABLES)}")
        sides: dict[str, Callable[[], Measurement]] = {"station": intake.station}
        sides |= {name: partial(intake.copy, name) for name in TABLES}
        rounds = interleave(plan.rounds, sides)
    ours = Side("station, PostgreSQL", Durability.FSYNC, "readings/s", rounds["station"])
    found = []
    for name, table in TABLES.items():
        peer = Side(table.title, Durability.FSYNC, "rows/s", rounds[name])
        found.append(
            compare(
                "P3",
                f"HTTP, {BATCH_READINGS:,} readings a request, {CONNECTIONS} connections",
                ours=ours,
                peer=peer,
                target=TARGET,
                notes=[describe_cpu(peer), "the database server runs on any core"],
            )
        )
    return found
