"""The findings as a table for people."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.findings import Finding, Side, Skip, Target, Verdict

COLUMNS_MIN = 132
COLOURS = {
    Verdict.STRETCH: "bold green",
    Verdict.MET: "green",
    Verdict.FIRST_STEP: "yellow",
    Verdict.MISSED: "red",
}
LEGEND = "[a] answered after fsync  [b] survives a process kill  [c] buffered  [-] nothing stored"


def print_table(
    console: Console, findings: Sequence[Finding], skips: Sequence[Skip], *, rounds: int
) -> None:
    """Print one row per finding; below them what limits each, and what was skipped and why."""
    console.width = max(console.width, COLUMNS_MIN)
    table = Table(
        title=f"Fieldstation benchmarks: median (lowest - highest) of {rounds} interleaved rounds",
        caption=escape(LEGEND),
    )
    for heading in ("#", "work", "station", "against", "figure", "target", "verdict"):
        table.add_column(heading)
    for finding in findings:
        table.add_row(
            finding.benchmark,
            finding.work,
            side_text(finding.ours),
            side_text(finding.peer) if finding.peer else "",
            figure_text(finding),
            target_text(finding.target),
            f"[{COLOURS[finding.verdict]}]{finding.verdict}[/]",
            end_section=True,
        )
    console.print(table)
    for line in dict.fromkeys(
        f"{finding.benchmark} {note}" for finding in findings for note in finding.notes
    ):
        console.print(line, style="dim", markup=False)
    for skip in skips:
        console.print(f"[yellow]skipped[/] {skip.benchmark} against {skip.peer}: {skip.reason}")


def side_text(side: Side) -> str:
    name = f"{side.name} [{side.durability}]"
    return f"{escape(name)}\n{number_text(side.spread.median)} {side.unit}"


def figure_text(finding: Finding) -> str:
    middle = finding.spread
    ends = f"({number_text(middle.lowest)} - {number_text(middle.highest)})"
    return f"{finding.figure_name}\n{number_text(middle.median)} {ends}"


def target_text(target: Target) -> str:
    sign = "≤" if target.at_most else "≥"
    parts = [f"{sign} {target.bound:g}"]
    if target.stretch is not None:
        parts.append(f"stretch {target.stretch:g}")
    if target.first_step is not None:
        parts.append(f"first step {target.first_step:g}")
    return "\n".join(parts)


def number_text(number: float) -> str:
    """Return whole numbers with thousands separated from 100 on, three digits below."""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"
