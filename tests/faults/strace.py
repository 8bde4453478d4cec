"""Reads what strace wrote: the bytes that came and went, and when files reached the disk.

Only the order of the trace's lines is used, no clock. strace stops a thread at the entry and at the
exit of each call until it has noted it, so the order it notes is the order in which things
happened. A call that another thread interrupts in the trace stands on two lines, ``unfinished`` and
``resumed``; any other began and ended on its line.
"""

import codecs
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

CALLS = "read,recvfrom,recvmsg,readv,write,writev,sendto,sendmsg,fdatasync,fsync"
STRING_BYTES_MAX = 65_536
UNFINISHED = " <unfinished ...>"
WHOLE = re.compile(r"(\d+) +(\w+)\((.*)\) += (-?\d+)")
BEGUN = re.compile(r"(\d+) +(\w+)\((.*)$")
RESUMED = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>(.*)\) += (-?\d+)")
STRING = re.compile(r'"((?:[^"\\]|\\.)*)"(\.\.\.)?')
CONNECTION = re.compile(r"\d+<TCP(?:v6)?:\[\S+:(\d+)->\S+:(\d+)\]>")
FILE = re.compile(r"\d+<(/[^>]*)>")
RECEIVING = frozenset({"read", "recvfrom", "recvmsg", "readv"})
SENDING = frozenset({"write", "writev", "sendto", "sendmsg"})
SYNCING = frozenset({"fdatasync", "fsync"})


def traced(trace: Path) -> tuple[str, ...]:
    """Return what stands before a station's command to trace it; signals still reach it."""
    options = ("-f", "-qq", "--seccomp-bpf", "-I", "never", "-yy", "-s", str(STRING_BYTES_MAX))
    return ("strace", *options, "-e", f"trace={CALLS}", "-e", "signal=none", "-o", str(trace))


class Call(NamedTuple):
    """One successful call; ``begin`` and ``end`` are line numbers of the trace."""

    name: str
    arguments: str
    result: int
    begin: int
    end: int


class Chunk(NamedTuple):
    """What one call carried; see ``Call`` for ``begin`` and ``end``."""

    content: bytes
    begin: int
    end: int


@dataclass
class Stream:
    """One direction of a connection, in order."""

    chunks: list[Chunk] = field(default_factory=list)

    def content(self) -> bytes:
        return b"".join(chunk.content for chunk in self.chunks)

    def chunk_at(self, offset: int) -> Chunk:
        """Return the call that carried the byte at ``offset``."""
        for chunk in self.chunks:
            if offset < len(chunk.content):
                return chunk
            offset -= len(chunk.content)
        raise IndexError("the stream is shorter")


@dataclass
class Trace:
    """What the station did: connections by ``(own port, client's port)``, syncs by file."""

    received: dict[tuple[int, int], Stream] = field(default_factory=dict)
    sent: dict[tuple[int, int], Stream] = field(default_factory=dict)
    syncs: dict[str, list[Call]] = field(default_factory=dict)

    def synced_between(self, path: Path, begin: int, end: int) -> bool:
        """Whether a sync of the file began and ended between two lines."""
        return any(begin < sync.begin and sync.end < end for sync in self.syncs.get(str(path), ()))


def read_trace(lines: Iterable[str]) -> Trace:
    """Sort the calls of a trace by what they did."""
    trace = Trace()
    for call in read_calls(lines):
        if call.name in SYNCING and (file := FILE.match(call.arguments)):
            trace.syncs.setdefault(file[1], []).append(call)
        elif call.result > 0 and (found := CONNECTION.match(call.arguments)):
            direction = trace.received if call.name in RECEIVING else trace.sent
            connection = int(found[1]), int(found[2])
            content = carried(call)
            direction.setdefault(connection, Stream()).chunks.append(
                Chunk(content, call.begin, call.end)
            )
    return trace


def read_calls(lines: Iterable[str]) -> Iterator[Call]:
    """Yield the calls that succeeded, in the order of their ends."""
    begun: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(lines):
        if line.rstrip("\n").endswith(UNFINISHED):
            if match := BEGUN.match(line.rstrip("\n").removesuffix(UNFINISHED)):
                begun[match[1]] = number, match[3]
        elif match := RESUMED.match(line):
            begin, arguments = begun.pop(match[1], (number, ""))
            if int(match[4]) >= 0:
                yield Call(match[2], arguments + match[3], int(match[4]), begin, number)
        elif (match := WHOLE.match(line)) and int(match[4]) >= 0:
            yield Call(match[2], match[3], int(match[4]), number, number)


def carried(call: Call) -> bytes:
    """Return the bytes that a call said it carried; fails when strace shortened them."""
    parts = STRING.findall(call.arguments)
    assert not any(shortened for _, shortened in parts), call
    content = b"".join(codecs.escape_decode(text.encode("latin-1"))[0] for text, _ in parts)
    assert len(content) >= call.result, call
    return content[: call.result]
