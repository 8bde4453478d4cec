"""P6, MQTT half: 500 clients, QoS 1, PUBACK after the commit, against brokers without a store."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from bench.encoding import connect_packet
from bench.findings import (
    Durability,
    Finding,
    Measurement,
    Side,
    Target,
    compare,
    describe_cpu,
    interleave,
    measurement,
)
from bench.mqtt_load import MqttLoadResult, MqttLoadSpec
from bench.peer_servers import Peer, amqtt, amqtt_program, mosquitto, mosquitto_program
from bench.plan import Plan
from bench.processes import ProcessFailedError, load_core, run_task
from bench.spool import write_spool
from bench.workload import device_by_device

CLIENTS = 500
MESSAGES_PER_CLIENT = 1_000
WARM_UP_PER_CLIENT = 10
# What Mosquitto's and paho's clients keep unacknowledged unless told otherwise.
WINDOW_MESSAGES = 20
TIME_LIMIT_S = 60.0
SLOW_PEER_TIME_LIMIT_S = 5.0
MOSQUITTO_TARGET = Target(bound=0.35, stretch=0.6, first_step=0.3)
AMQTT_TARGET = Target(bound=10.0)


class MqttIntake:
    """Prepared work and files of this benchmark."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        template = plan.template
        self._per_client = WARM_UP_PER_CLIENT + plan.size(MESSAGES_PER_CLIENT)
        plan.say(f"P6: preparing {CLIENTS} clients, {self._per_client:,} messages each")
        self._workload = device_by_device(
            base_s=template.base_s, devices=CLIENTS, per_device=self._per_client
        )
        self._publishes = plan.work_dir / "p6-publishes.spool"
        write_spool(self._publishes, self._workload.publishes(template.identities))
        self._connects = plan.work_dir / "p6-connects.spool"
        write_spool(
            self._connects, [connect_packet(device) for device in template.identities[:CLIENTS]]
        )

    def station(self) -> Measurement:
        new = self._workload.new_readings
        with self._plan.station_storing(new, name="p6-station") as station:
            result = self._load(station.mqtt_port, station.process.pid, time_limit_s=TIME_LIMIT_S)
        wanted = CLIENTS * (self._per_client - WARM_UP_PER_CLIENT)
        if result.acknowledged != wanted or result.lost:
            raise ProcessFailedError(
                f"{result.acknowledged} of {wanted} acknowledged, {result.lost} clients lost"
            )
        return measurement(result.per_s, result)

    def mosquitto(self) -> Measurement:
        return self._broker(mosquitto, time_limit_s=TIME_LIMIT_S)

    def amqtt(self) -> Measurement:
        return self._broker(amqtt, time_limit_s=SLOW_PEER_TIME_LIMIT_S)

    def _broker(
        self, running: Callable[[Path], AbstractContextManager[Peer]], *, time_limit_s: float
    ) -> Measurement:
        with running(self._plan.work_dir) as peer:
            result = self._load(peer.port, peer.process.pid, time_limit_s=time_limit_s)
        if result.lost:
            raise ProcessFailedError(f"{result.lost} clients lost by {running.__name__}")
        return measurement(result.per_s, result)

    @property
    def messages(self) -> int:
        """How many messages all clients have, warm-up included."""
        return CLIENTS * self._per_client

    def spec(self, port: int, *, server_pid: int, time_limit_s: float) -> MqttLoadSpec:
        """Return what the load generator is to do at a port."""
        return MqttLoadSpec(
            port=port,
            connects=str(self._connects),
            publishes=str(self._publishes),
            clients=CLIENTS,
            per_client=self._per_client,
            warm_up=WARM_UP_PER_CLIENT,
            window=WINDOW_MESSAGES,
            duration_s=time_limit_s,
            server_pid=server_pid,
        )

    def _load(self, port: int, server_pid: int, *, time_limit_s: float) -> MqttLoadResult:
        spec = self.spec(port, server_pid=server_pid, time_limit_s=time_limit_s)
        return run_task("bench.mqtt_load", spec, result=MqttLoadResult, core=load_core())


def measure(plan: Plan) -> list[Finding]:
    """Compare with the brokers that are installed."""
    intake = MqttIntake(plan)
    sides = {"station": intake.station}
    if mosquitto_program():
        sides["Mosquitto"] = intake.mosquitto
    else:
        plan.skip("P6", "Mosquitto", "not installed; run bench/install-peers")
    if amqtt_program():
        sides["amqtt"] = intake.amqtt
    else:
        plan.skip("P6", "amqtt", "not installed; run bench/install-peers")
    plan.say(f"P6: {plan.rounds} rounds of {', '.join(sides)}")
    rounds = interleave(plan.rounds, sides)
    ours = Side("station", Durability.FSYNC, "messages/s", rounds.pop("station"))
    targets = {"Mosquitto": MOSQUITTO_TARGET, "amqtt": AMQTT_TARGET}
    findings = []
    for name, measured in rounds.items():
        peer = Side(name, Durability.NOTHING_STORED, "messages/s", measured)
        findings.append(
            compare(
                "P6",
                f"MQTT QoS 1, {CLIENTS} clients, {WINDOW_MESSAGES} in flight each",
                ours=ours,
                peer=peer,
                target=targets[name],
                notes=[describe_cpu(peer)],
            )
        )
    return findings
