"""Run the benchmarks: ``python -m bench [--quick] [--only P5,P6]``."""

import argparse
import shutil
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from rich.console import Console

from bench import (
    p01_influxdb_intake,
    p02_http_batch,
    p03_postgresql_intake,
    p04_victoria_intake,
    p05_http_single,
    p06_mqtt,
    p07_latency,
    p08_disk,
    p09_latest,
    p10_trend,
    p11_growth,
    p12_fanout,
    p13_live_latency,
    p16_start,
    p18_memory,
    p19_middleware,
    p20_responsiveness,
)
from bench.findings import Finding
from bench.machine import describe_machine, describe_versions
from bench.peer_servers import amqtt_version
from bench.plan import QUICK_ROUNDS, ROUNDS, Plan
from bench.processes import ProcessFailedError
from bench.table import print_table

HERE = Path(__file__).parent
BENCHMARKS: dict[str, Callable[[Plan], list[Finding]]] = {
    "P1": p01_influxdb_intake.measure,
    "P2": p02_http_batch.measure,
    "P3": p03_postgresql_intake.measure,
    "P4": p04_victoria_intake.measure,
    "P5": p05_http_single.measure,
    "P6": p06_mqtt.measure,
    "P7": p07_latency.measure,
    "P8": p08_disk.measure,
    "P9": p09_latest.measure,
    "P10": p10_trend.measure,
    "P11": p11_growth.measure,
    "P12": p12_fanout.measure,
    "P13": p13_live_latency.measure,
    "P16": p16_start.measure,
    "P18": p18_memory.measure,
    "P19": p19_middleware.measure,
    "P20": p20_responsiveness.measure,
}


def parse_arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure the station and its peers; print the ratios and write them to a file.",
        epilog="Example: python -m bench --quick --only P5,P6",
    )
    parser.add_argument("--only", type=chosen, default=list(BENCHMARKS), metavar="P5,P6")
    parser.add_argument("--quick", action="store_true", help="short rounds, for development")
    parser.add_argument("--rounds", type=int, help=f"default {ROUNDS}, quick {QUICK_ROUNDS}")
    parser.add_argument(
        "--output", type=Path, default=HERE / "results.json", help="where the figures go"
    )
    parser.add_argument(
        "--work-dir",
        type=Path,
        default=HERE / "work",
        help="a directory on the disk to measure; emptied before and after",
    )
    parser.add_argument(
        "--station-command",
        type=str.split,
        default=[str(Path(sys.executable).parent / "fieldstation"), "serve"],
        help="another build's serve command, to measure that",
    )
    return parser.parse_args(words)


def chosen(text: str) -> list[str]:
    names = [name.strip().upper() for name in text.split(",")]
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"unknown: {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}"
        )
    return names


def main(words: Sequence[str]) -> None:
    arguments = parse_arguments(words)
    console = Console()
    work_dir: Path = arguments.work_dir.resolve()
    prepare_work_dir(work_dir)
    plan = Plan(
        work_dir=work_dir,
        station_command=tuple(arguments.station_command),
        quick=arguments.quick,
        rounds=arguments.rounds or (QUICK_ROUNDS if arguments.quick else ROUNDS),
        console=console,
    )
    started_at = datetime.now(UTC)
    failed: list[str] = []
    findings: list[Finding] = []
    for name in arguments.only:
        try:
            findings += BENCHMARKS[name](plan)
        except ProcessFailedError as error:  # the figures of the others stand
            plan.skip(name, "everything", str(error))
            failed.append(name)
    print_table(console, findings, plan.skips, rounds=plan.rounds)
    report = {
        "started_at": started_at.isoformat(timespec="seconds"),
        "command": command_line(arguments),
        "quick": plan.quick,
        "rounds": plan.rounds,
        "machine": describe_machine(work_dir),
        "versions": describe_versions({"amqtt": amqtt_version()}),
        "findings": [describe(finding) for finding in findings],
        "skips": plan.skips,
    }
    arguments.output.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    shutil.rmtree(work_dir)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


def command_line(arguments: argparse.Namespace) -> str:
    """Return what to type for the same measurement; paths of this machine are left out."""
    words = ["python", "-m", "bench"]
    if arguments.only != list(BENCHMARKS):
        words += ["--only", ",".join(arguments.only)]
    if arguments.quick:
        words.append("--quick")
    if arguments.rounds:
        words += ["--rounds", str(arguments.rounds)]
    return " ".join(words)


def prepare_work_dir(work_dir: Path) -> None:
    """Begin with an empty directory that git does not see."""
    shutil.rmtree(work_dir, ignore_errors=True)
    work_dir.mkdir(parents=True)
    (work_dir / ".gitignore").write_text("*\n")


def describe(finding: Finding) -> dict[str, object]:
    return {
        **msgspec.to_builtins(finding),
        "figure": msgspec.to_builtins(finding.spread),
        "verdict": finding.verdict,
    }


if __name__ == "__main__":
    main(sys.argv[1:])
