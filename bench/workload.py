"""What the intake benchmarks send: the data set's next readings, cut into messages and counted."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.data import STORED_READINGS_PER_DEVICE, Reading, device_readings
from bench.encoding import Identity, body_json, post_readings, publish_packet, table_rows
from bench.raw_insert import Row
from bench.spool import write_spool


@dataclass(frozen=True, slots=True)
class Message:
    """Readings of one device that travel together."""

    device: int
    readings: Sequence[Reading]


@dataclass(frozen=True, slots=True)
class Workload:
    """Messages in sending order for data that begins at second ``base_s``."""

    messages: Sequence[Message]
    base_s: int

    def __len__(self) -> int:
        return len(self.messages)

    @property
    def new_readings(self) -> int:
        """How many readings a store that holds each once has more afterwards."""
        return sum(
            not reading.repeated for message in self.messages for reading in message.readings
        )

    def without_repeated(self) -> "Workload":
        """Return the same messages less every second sending of a reading."""
        messages = [
            Message(
                message.device, [reading for reading in message.readings if not reading.repeated]
            )
            for message in self.messages
        ]
        return Workload(messages=messages, base_s=self.base_s)

    def requests(self, identities: Sequence[Identity]) -> Iterator[bytes]:
        for message in self.messages:
            body = body_json(message.readings, base_s=self.base_s)
            yield post_readings(identities[message.device], body)

    def write_requests(self, path: Path, identities: Sequence[Identity]) -> Path:
        write_spool(path, self.requests(identities))
        return path

    def publishes(self, identities: Sequence[Identity]) -> Iterator[bytes]:
        """Yield MQTT packets; a device's messages have to stand together."""
        numbers: dict[int, int] = {}
        for message in self.messages:
            number = numbers.get(message.device, 0)
            numbers[message.device] = number + 1
            body = body_json(message.readings, base_s=self.base_s)
            yield publish_packet(identities[message.device], body, number=number)

    def rows(self) -> Iterator[Row]:
        for message in self.messages:
            yield from table_rows(message.device, message.readings, base_s=self.base_s)


def side_by_side(
    *, base_s: int, devices: int, sizes: Sequence[int], start: int = STORED_READINGS_PER_DEVICE
) -> Workload:
    """Return ``len(sizes)`` messages of each device, all devices in turn, as time passes."""
    everything = [
        device_readings(device, start=start, count=sum(sizes)) for device in range(devices)
    ]
    messages: list[Message] = []
    at = 0
    for size in sizes:
        messages += [
            Message(device, readings[at : at + size]) for device, readings in enumerate(everything)
        ]
        at += size
    return Workload(messages=messages, base_s=base_s)


def device_by_device(
    *, base_s: int, devices: int, per_device: int, start: int = STORED_READINGS_PER_DEVICE
) -> Workload:
    """Return ``per_device`` messages of one reading, each device's together."""
    messages = [
        Message(device, [reading])
        for device in range(devices)
        for reading in device_readings(device, start=start, count=per_device)
    ]
    return Workload(messages=messages, base_s=base_s)
