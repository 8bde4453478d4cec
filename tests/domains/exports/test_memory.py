"""Exporting much takes no more memory than exporting little: measured in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fieldstation.domains.exports.schemas import ExportFormat

GROWTH_MIB_MAX = 64
SERIES, PER_SERIES = 20, 15_000
SCRIPT = """
import asyncio, json, sys
from pathlib import Path
from fieldstation.core.clock import SystemClock
from fieldstation.domains.exports.schemas import Column, ExportFormat, Selection
from fieldstation.domains.exports.writing import write_readings
from fieldstation.domains.telemetry.ports import Columns, Variant
from fieldstation.domains.telemetry.store.sqlite import SqliteReadingStore
from tests.contracts.reading_databases import reading_database
from tests.contracts.readings import NOON_US, SECOND_US, make_series

path, kind, series_count, per_series = Path(sys.argv[1]), *sys.argv[2:]
series_count, per_series = int(series_count), int(per_series)

def resident_mib():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024

async def export(store, series, end_us):
    selection = Selection("org", ExportFormat(kind), 0, end_us, None, None, tuple(Column))
    total, peak = 0, resident_mib()
    async for piece in write_readings(store, series, selection, work_dir=path.parent / "work"):
        total += len(piece)
        if total % 8 == 0 or len(piece) < 65536:
            peak = max(peak, resident_mib())
    return total, peak

async def main():
    async with reading_database(f"sqlite:///{path}") as database:
        store = await database.open()
        series = await make_series(store, series_count)
        ids = [row.id for row in series]
        await store.resolve_variants([(row_id, Variant("K", None, "http")) for row_id in ids])
        series = await store.find_series("org")
        for start in range(0, per_series, 1_000):
            block = Columns()
            for at in range(start, start + 1_000):
                block.series_id += ids
                block.ts_us += [NOON_US + at * SECOND_US] * len(ids)
                block.value += [at / 10 + number for number in range(len(ids))]
                block.flags += [0] * len(ids)
            await store.append(block)
        await store.flush()
        small, before = await export(store, series, NOON_US + 1_500 * SECOND_US)
        large, after = await export(store, series, NOON_US + per_series * SECOND_US)
    print(json.dumps({"small": small, "large": large, "before": before, "after": after}))

asyncio.run(main())
"""


@pytest.mark.parametrize("kind", list(ExportFormat))
def test_ten_times_as_much_takes_no_more_memory(kind: ExportFormat, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            SCRIPT,
            tmp_path / "readings.db",
            kind,
            str(SERIES),
            str(PER_SERIES),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["large"] > 5 * found["small"]
    assert found["after"] - found["before"] < GROWTH_MIB_MAX, found
