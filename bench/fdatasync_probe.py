"""How long a bare fdatasync takes on the file system of the databases, a process of its own."""

import os
import time
from pathlib import Path

import msgspec

from bench.processes import be_task
from bench.spread import Latencies, summarise_latencies

# One page and its frame header: the least that SQLite appends to its log for a commit.
RECORD = b"\0" * (4096 + 24)


class ProbeSpec(msgspec.Struct, frozen=True):
    """Append ``records`` to a new file, each followed by fdatasync."""

    file: str
    records: int


class ProbeResult(msgspec.Struct, frozen=True):
    """Time from before the write to after the fdatasync."""

    latencies: Latencies | None


def probe(spec: ProbeSpec) -> ProbeResult:
    path = Path(spec.file)
    spent: list[float] = []
    with path.open("wb", buffering=0) as file:
        for _ in range(spec.records):
            started = time.perf_counter()
            file.write(RECORD)
            os.fdatasync(file.fileno())
            spent.append(time.perf_counter() - started)
    path.unlink()
    return ProbeResult(latencies=summarise_latencies(spent))


if __name__ == "__main__":
    be_task(probe, ProbeSpec)
