"""The readings every benchmark sends: 1,000 devices with ten sensors, some late, some repeated.

A device takes one reading of each sensor a second. Half of its sensors measure a level to one
decimal, half walk at random. Each device has its own random stream, so that any device's readings
come out the same alone or among all.
"""

from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from random import Random
from typing import NamedTuple

SEED = 123
DEVICES = 1_000
LATE_SHARE = 0.05
DUPLICATE_SHARE = 0.01
LATE_POSITIONS_MIN = 20
LATE_POSITIONS_MAX = 600
STORED_READINGS_PER_SERIES = 300


class Sensor(NamedTuple):
    """One sensor; ``walks`` tells a random walk from one-decimal noise around ``level``."""

    sensor_type: str
    unit: str
    level: float
    spread: float
    walks: bool


SENSORS = (
    Sensor("temperature", "C", 21.0, 1.5, walks=False),
    Sensor("humidity", "%", 48.0, 6.0, walks=True),
    Sensor("pressure", "hPa", 1013.0, 4.0, walks=False),
    Sensor("illuminance", "lx", 420.0, 60.0, walks=True),
    Sensor("voltage", "V", 12.4, 0.4, walks=False),
    Sensor("current", "A", 1.8, 0.2, walks=True),
    Sensor("sound_level", "dB", 41.0, 7.0, walks=False),
    Sensor("carbon_dioxide", "ppm", 640.0, 40.0, walks=True),
    Sensor("wind_speed", "m/s", 3.2, 1.6, walks=False),
    Sensor("soil_moisture", "%", 33.0, 3.0, walks=True),
)
STORED_READINGS_PER_DEVICE = STORED_READINGS_PER_SERIES * len(SENSORS)


class Reading(NamedTuple):
    """One measurement: the position in ``SENSORS``, seconds since the start, the value.

    ``repeated`` marks the second sending of a reading.
    """

    sensor: int
    second: int
    value: float
    repeated: bool


def device_readings(device: int, *, start: int, count: int, seed: int = SEED) -> list[Reading]:
    """Return a device's readings ``start … start + count`` in the order in which they are sent."""
    return list(islice(stream_readings(device, seed=seed), start, start + count))


def stream_readings(device: int, *, seed: int = SEED) -> Iterator[Reading]:
    """Yield a device's readings without end, in sending order.

    A late reading is held back behind newer ones of its series; a duplicate is sent again a little
    later, unchanged.
    """
    random = Random(seed * 1_000_003 + device)
    levels = [sensor.level + sensor.spread * (random.random() - 0.5) for sensor in SENSORS]
    held: dict[int, list[Reading]] = defaultdict(list)
    position = 0
    while True:
        if position in held:
            yield from held.pop(position)
        second, sensor = divmod(position, len(SENSORS))
        reading = Reading(sensor, second, next_value(sensor, levels, random), repeated=False)
        draw = random.random()
        if draw < LATE_SHARE:
            held[position + late_positions(random)].append(reading)
        else:
            yield reading
            if draw < LATE_SHARE + DUPLICATE_SHARE:
                held[position + late_positions(random)].append(reading._replace(repeated=True))
        position += 1


def next_value(index: int, levels: list[float], random: Random) -> float:
    sensor = SENSORS[index]
    step = sensor.spread * (random.random() - 0.5)
    if sensor.walks:
        levels[index] += step / 10
        return round(levels[index], 3)
    return round(levels[index] + step, 1)


def late_positions(random: Random) -> int:
    return LATE_POSITIONS_MIN + int(random.random() * (LATE_POSITIONS_MAX - LATE_POSITIONS_MIN))
