"""What a benchmark found: figures per round of both sides, their ratio, and the verdict."""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec

from bench.spread import Spread, ratios, spread

LOAD_FULL_SHARE = 0.95
SERVER_FULL_SHARE = 0.93


class Durability(StrEnum):
    """What an answer of this side promises."""

    FSYNC = "a"
    PROCESS_KILL = "b"
    BUFFERED = "c"
    NOTHING_STORED = "-"


class Verdict(StrEnum):
    """How a figure stands to its target."""

    STRETCH = "stretch met"
    MET = "met"
    FIRST_STEP = "first step met"
    MISSED = "missed"


class Target(msgspec.Struct, frozen=True):
    """The bound a figure has to keep; ``first_step`` is a smaller bound on the way there."""

    bound: float
    stretch: float | None = None
    first_step: float | None = None
    at_most: bool = False

    def judge(self, figure: float) -> Verdict:
        if self.stretch is not None and self._keeps(figure, self.stretch):
            return Verdict.STRETCH
        if self._keeps(figure, self.bound):
            return Verdict.MET
        if self.first_step is not None and self._keeps(figure, self.first_step):
            return Verdict.FIRST_STEP
        return Verdict.MISSED

    def _keeps(self, figure: float, bound: float) -> bool:
        return figure <= bound if self.at_most else figure >= bound


class Measurement(msgspec.Struct, frozen=True):
    """One side in one round: the figure that is compared, and all else that was reported."""

    figure: float
    detail: dict[str, Any]


class Side(msgspec.Struct, frozen=True):
    """One side in every round, in ``unit``."""

    name: str
    durability: Durability
    unit: str
    rounds: list[Measurement]

    @property
    def figures(self) -> list[float]:
        return [measured.figure for measured in self.rounds]

    @property
    def spread(self) -> Spread:
        return spread(self.figures)


class Finding(msgspec.Struct, frozen=True):
    """One line of the table; the target bounds ``figures``: ratios, or seconds without a peer."""

    benchmark: str
    work: str
    ours: Side
    peer: Side | None
    figure_name: str
    figures: list[float]
    target: Target
    notes: list[str] = msgspec.field(default_factory=list)

    @property
    def spread(self) -> Spread:
        return spread(self.figures)

    @property
    def verdict(self) -> Verdict:
        return self.target.judge(self.spread.median)


class Skip(msgspec.Struct, frozen=True):
    """A comparison that this machine could not make, with the reason."""

    benchmark: str
    peer: str
    reason: str


def interleave(
    rounds: int, sides: Mapping[str, Callable[[], Measurement]]
) -> dict[str, list[Measurement]]:
    """Run A-B-A-B: every side once a round, so that the machine's moods hit all of them."""
    measured: dict[str, list[Measurement]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, measure in sides.items():
            measured[name].append(measure())
    return measured


def measurement(figure: float, result: msgspec.Struct) -> Measurement:
    """Return a figure with everything in the result that it came from."""
    return Measurement(figure=figure, detail=msgspec.to_builtins(result, str_keys=True))


def compare(
    benchmark: str, work: str, *, ours: Side, peer: Side, target: Target, notes: Sequence[str] = ()
) -> Finding:
    """Return a finding about ours over the peer's, round by round."""
    return Finding(
        benchmark=benchmark,
        work=work,
        ours=ours,
        peer=peer,
        figure_name="ratio",
        figures=ratios(ours.figures, peer.figures),
        target=target,
        notes=[describe_cpu(ours), *notes],
    )


def describe_cpu(side: Side) -> str:
    """Say what the cores did in this side's rounds, and what limits it if that shows."""
    shares = [measured.detail["cpu"] for measured in side.rounds]
    server, load, others = (
        spread([share[part] for share in shares]).median for part in ("server", "load", "others")
    )
    if load > LOAD_FULL_SHARE:
        limit = "the load generator is full: a lower bound"
    elif server > SERVER_FULL_SHARE:
        limit = "limited by the server's core"
    elif side.durability is Durability.FSYNC:
        limit = "the server's core is not full: it waits for its commits"
    else:
        limit = "the server's core is not full"
    return f"{side.name}: server {server:.2f} cores, load {load:.2f}, others {others:.2f}; {limit}"
