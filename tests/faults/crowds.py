"""Crowds of devices that send as fast as they are answered, from a process of their own."""

import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import NamedTuple

from bench.encoding import connect_packet, post_readings, publish_packet
from bench.http_load import HttpLoadResult
from bench.mqtt_load import MqttLoadResult, MqttLoadSpec
from bench.processes import load_core, run_task
from bench.spool import write_spool
from bench.station import register_devices
from bench.steady_load import SteadyLoadSpec
from tests.faults.mqtt_crowd import MESSAGES_MAX
from tests.station_process import StationProcess

DEVICES = 1_000
WARM_UP_S, WARM_UP_S_MAX = 1.0, 60.0


class Load(NamedTuple):
    """What clients offered, and what became of it, in readings but for the refused messages."""

    per_s: float
    acknowledged: int
    unanswered_max: int
    refused: int


class Crowd(ABC):
    """The devices of one station, which it knows."""

    few: int
    """Clients that suffice for what the station can take."""
    many: int

    def __init__(self, station: StationProcess, directory: Path) -> None:
        self.station = station
        self.directory = directory
        self.identities = register_devices(station.port, devices=DEVICES)

    @abstractmethod
    def warm_up(self) -> Load:
        """Make the station know its devices and their series."""

    @abstractmethod
    def send(self, clients: int, duration_s: float) -> Load:
        """Let so many clients send for so long, each again as soon as it was answered."""


class HttpCrowd(Crowd):
    """Sends requests of 100 readings; refused ones are not sent again, others follow at once."""

    few, many = 16, 2_000
    sensors, step_s = 10, 10

    def __init__(self, station: StationProcess, directory: Path) -> None:
        super().__init__(station, directory)
        self._base_s = time.time_ns() // 1_000_000_000 - 3 * 3_600

    def warm_up(self) -> Load:
        return self._send(self.few, WARM_UP_S_MAX, DEVICES)

    def send(self, clients: int, duration_s: float) -> Load:
        return self._send(clients, duration_s, MESSAGES_MAX)

    def _send(self, clients: int, duration_s: float, messages_max: int) -> Load:
        spool = self.directory / "requests.spool"
        write_spool(spool, map(post_readings, self.identities, map(self._body, range(DEVICES))))
        spec = SteadyLoadSpec(
            port=self.station.port,
            spool=str(spool),
            connections=clients,
            base_s=self._base_s,
            step_s=self.step_s,
            duration_s=duration_s,
            messages_max=messages_max,
        )
        result = run_task("bench.steady_load", spec, result=HttpLoadResult, core=load_core())
        assert result.statuses.keys() <= {201, 503}, result.statuses
        assert result.refusal is None or '"error":"queue_full"' in result.refusal, result.refusal
        assert result.lost == 0
        answered = sum(result.statuses.values())
        self._base_s += (answered // DEVICES + 1) * self.step_s
        stored = result.succeeded * self.sensors * self.step_s
        return Load(stored / result.elapsed_s, stored, 0, answered - result.succeeded)

    def _body(self, device: int) -> bytes:
        readings = ",".join(
            f'{{"sensor_type":"temperature","sensor_id":"{sensor}","unit":"°C",'
            f'"value":{20 + (device + sensor + second) % 13 / 10},'
            f'"timestamp":{self._base_s + second}000}}'
            for second in range(self.step_s)
            for sensor in range(self.sensors)
        )
        return f'{{"readings":[{readings}]}}'.encode()


class MqttCrowd(Crowd):
    """Publishes single readings with QoS 1, twenty on their way."""

    few, many = 100, 1_000
    window = 20

    def warm_up(self) -> Load:
        return self.send(self.many, WARM_UP_S)

    def send(self, clients: int, duration_s: float) -> Load:
        connects, publishes = self.directory / "connects.spool", self.directory / "publishes.spool"
        write_spool(connects, map(connect_packet, self.identities))
        body = b'{"sensor_type":"temperature","value":20.5}'
        own = range(self.window)
        write_spool(
            publishes,
            (publish_packet(one, body, number=at) for one in self.identities for at in own),
        )
        spec = MqttLoadSpec(
            port=self.station.mqtt_port,
            connects=str(connects),
            publishes=str(publishes),
            clients=clients,
            per_client=MESSAGES_MAX,
            warm_up=0,
            window=self.window,
            duration_s=duration_s,
        )
        core = load_core()
        result = run_task("tests.faults.mqtt_crowd", spec, result=MqttLoadResult, core=core)
        assert result.lost == 0
        done = result.acknowledged
        return Load(done / result.elapsed_s, done, clients * self.window, 0)
