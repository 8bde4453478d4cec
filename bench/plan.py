"""What one run of the suite does, and where it keeps its files meanwhile."""

import asyncio
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from rich.console import Console

from bench.findings import Skip
from bench.station import (
    Station,
    Template,
    build_template,
    count_stored,
    demand_stored,
    running_station,
    settle,
)

ROUNDS = 5
QUICK_ROUNDS = 2
QUICK_DIVISOR = 5


@dataclass(frozen=True)
class Plan:
    """One run; ``quick`` shortens everything: its figures prove only that it works."""

    work_dir: Path
    station_command: tuple[str, ...]
    quick: bool
    rounds: int
    console: Console
    skips: list[Skip] = field(default_factory=list)

    def size(self, full: int) -> int:
        """Return how much work a benchmark does: ``full``, or a fifth when quick."""
        return full // QUICK_DIVISOR if self.quick else full

    @cached_property
    def template(self) -> Template:
        """The station's data with the stored readings, made on first use, copied for each round."""
        self.say("storing 300 readings of 10,000 series through the station's own intake")
        return build_template(
            self.work_dir / "template", command=self.station_command, log=self.log("template")
        )

    def copy_template(self, name: str) -> Path:
        """Return a fresh copy of the template's data directory, written back to disk already.

        What has become old enough meanwhile is sealed once, not in every round.
        """
        asyncio.run(settle(self.template.telemetry_file))
        return self.copy(self.template.data_dir, name)

    @contextmanager
    def station_storing(self, readings: int, *, name: str) -> Iterator[Station]:
        """Run a station on a fresh copy of the template; it has to store so many readings."""
        data_dir = self.copy_template(name)
        stored_before = count_stored(data_dir)
        with running_station(data_dir, command=self.station_command, log=self.log(name)) as station:
            yield station
        demand_stored(data_dir, expected=stored_before + readings)
        self.discard(name)

    def copy(self, source: Path, name: str) -> Path:
        target = self.discard(name)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            target.mkdir(parents=True)
            shutil.copy(source, target)
        # Otherwise the kernel writes the copy back later, and each measured fsync waits for it.
        os.sync()
        return target

    def discard(self, name: str) -> Path:
        """Remove what an earlier round left under a name; return its path."""
        target = self.work_dir / name
        shutil.rmtree(target, ignore_errors=True)
        return target

    def log(self, name: str) -> Path:
        return self.work_dir / f"{name}.log"

    def skip(self, benchmark: str, peer: str, reason: str) -> None:
        self.skips.append(Skip(benchmark=benchmark, peer=peer, reason=reason))

    def say(self, sentence: str) -> None:
        self.console.print(f"[dim]{sentence}[/dim]")
