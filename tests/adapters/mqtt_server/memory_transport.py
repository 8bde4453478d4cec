"""A transport without a network, for what a kernel's buffers would hide."""

from collections.abc import Mapping


class MemoryTransport:
    """Keeps what is written; ``stuck_bytes`` is what its peer has not taken."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.stuck_bytes = 0
        self.reading = True
        self.closed = False
        self.aborted = False
        self.extra: Mapping[str, object] = {}

    @property
    def written(self) -> bytes:
        return b"".join(self.writes)

    def write(self, data: bytes, /) -> None:
        self.writes.append(data)

    def can_write_eof(self) -> bool:
        return False

    def write_eof(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def set_write_buffer_limits(self, high: int | None = None) -> None:
        self.high = high

    def get_write_buffer_size(self) -> int:
        return self.stuck_bytes

    def get_extra_info(self, name: str, /) -> object:
        return self.extra.get(name)
