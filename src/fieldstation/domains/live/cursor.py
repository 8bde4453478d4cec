"""Where a socket stands in the intake log: per node, the last batch and the position in it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from fieldstation.core.errors import Invalid

NODES_MAX = 64
CHARACTERS_MAX = 4_000


@dataclass(frozen=True, slots=True)
class Cursor:
    """``node.seq.index`` for each node, joined by ``~``; ``index`` -1 means the whole batch was
    seen."""

    positions: Mapping[str, int]
    node_id: str
    indexes: Mapping[str, int] = field(default_factory=dict)

    def moved_to(self, node_id: str, seq: int) -> Self:
        """Return the cursor behind a node's batch ``seq``."""
        return type(self)({**self.positions, node_id: seq}, node_id=self.node_id)

    def around(self, node_id: str) -> tuple[str, str]:
        """Return what stands before and behind the index of a node in this cursor's text."""
        parts = [f"{n}.{seq}." for n, seq in self.positions.items()]
        at = list(self.positions).index(node_id)
        before = "".join(f"{part}-1~" for part in parts[:at])
        return before + parts[at], "".join(f"~{part}-1" for part in parts[at + 1 :])

    def text(self, indexes: Mapping[str, int] | None = None) -> str:
        """Return what a client keeps and sends back as ``since``."""
        known = self.indexes if indexes is None else indexes
        return "~".join(
            f"{node}.{seq}.{known.get(node, -1)}" for node, seq in self.positions.items()
        )


def parse_cursor(text: str, *, node_id: str) -> Cursor:
    """Read a cursor back. Raises ``Invalid``."""
    parts = text.split("~")
    if len(text) > CHARACTERS_MAX or len(parts) > NODES_MAX:
        raise foreign_cursor()
    positions: dict[str, int] = {}
    indexes: dict[str, int] = {}
    for part in parts:
        node, separator, rest = part.partition(".")
        seq, dot, index = rest.partition(".")
        if not (node and separator and dot and is_number(seq) and is_index(index)):
            raise foreign_cursor()
        positions[node], indexes[node] = int(seq), int(index)
    return Cursor(positions, node_id=node_id, indexes=indexes)


def is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 16


def is_index(text: str) -> bool:
    return text == "-1" or is_number(text)


def foreign_cursor() -> Invalid:
    return Invalid(
        "since: not a cursor of this station; take one from a frame.", code="invalid_cursor"
    )
