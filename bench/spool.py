"""A file of ready-made messages, so that a load generator encodes nothing once its clock runs."""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

OFFSET_BYTES = 8


@dataclass(frozen=True, slots=True)
class Spool:
    """Messages back to back in memory; message ``i`` is ``content[offsets[i]:offsets[i + 1]]``."""

    content: memoryview
    offsets: "array[int]"

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def span(self, start: int, stop: int) -> memoryview:
        """Return messages ``start … stop`` as one piece."""
        return self.content[self.offsets[start] : self.offsets[stop]]

    @classmethod
    def load(cls, path: Path) -> Self:
        offsets = array("Q")
        offsets.frombytes(offsets_path(path).read_bytes())
        return cls(content=memoryview(path.read_bytes()), offsets=offsets)


def write_spool(path: Path, messages: Iterable[bytes]) -> int:
    """Write messages and their offsets beside them; return how many there were."""
    offsets = array("Q", [0])
    with path.open("wb") as file:
        for message in messages:
            file.write(message)
            offsets.append(offsets[-1] + len(message))
    offsets_path(path).write_bytes(offsets.tobytes())
    return len(offsets) - 1


def offsets_path(path: Path) -> Path:
    return path.with_suffix(".offsets")
