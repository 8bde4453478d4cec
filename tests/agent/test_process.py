"""The agent's promise, held by the real process against a real broker: nothing lost, no twice."""

import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from tests.agent.broker import Broker, free_port
from tests.agent.processes import DEVICE_ID, DEVICE_KEY, AgentProcess, started_agent
from tests.agent.tap import Tap
from tests.wait_until import wait_until_blocking


def assert_all_arrived(tap: Tap, journal: dict[str, int]) -> None:
    arrived = set(tap.acknowledged_readings())
    assert Counter(reading.timestamp for reading in arrived) == journal
    assert len({reading[:3] for reading in arrived}) == len(arrived), "one key, two values"


def wait_for_more_samples(agent: AgentProcess, samples: int) -> None:
    enough = len(agent.journal()) + samples
    wait_until_blocking(lambda: len(agent.journal()) >= enough)


def test_every_sample_reaches_a_subscriber_through_mosquitto(tmp_path: Path) -> None:
    received: list[mqtt.MQTTMessage] = []
    with Broker(tmp_path / "broker") as broker:
        subscriber = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="subscriber")
        subscribed: list[object] = []
        subscriber.on_subscribe = lambda *values: subscribed.append(values[2])
        subscriber.on_message = lambda _client, _, message: received.append(message)
        subscriber.connect("127.0.0.1", broker.port)
        subscriber.subscribe(f"devices/{DEVICE_ID}/#", qos=1)
        subscriber.loop_start()
        wait_until_blocking(lambda: bool(subscribed))
        with started_agent(tmp_path, broker.port) as agent:
            wait_for_more_samples(agent, 5)
            assert agent.terminate() == 0
        journal = agent.journal()
        wait_until_blocking(lambda: all_in(received, journal))
        subscriber.disconnect()
        subscriber.loop_stop()
    assert {message.topic.rpartition("/")[2] for message in received} == {"heartbeat", "readings"}


def all_in(received: list[mqtt.MQTTMessage], journal: dict[str, int]) -> bool:
    payload = b"".join(message.payload for message in received)
    return all(payload.count(stamp.encode()) >= count for stamp, count in journal.items())


def test_broker_killed_twice_under_reporting_loses_no_sample(tmp_path: Path) -> None:
    broker = Broker(tmp_path / "broker")
    with broker, Tap(broker.port) as tap:
        with started_agent(tmp_path, tap.port) as agent:
            for _ in range(2):
                arrived = len(tap.acknowledged_timestamps())
                wait_until_blocking(lambda n=arrived: len(tap.acknowledged_timestamps()) > n + 5)
                broker.kill()
                wait_for_more_samples(agent, 8)
                broker.start()
            before_the_end = set(agent.journal())
            wait_until_blocking(
                lambda: before_the_end <= tap.acknowledged_timestamps(), timeout_s=20
            )
            assert agent.terminate() == 0
        assert_all_arrived(tap, agent.journal())


def test_agent_killed_and_started_again_loses_no_sample(tmp_path: Path) -> None:
    broker = Broker(tmp_path / "broker")
    journal: dict[str, int] = {}
    with Tap(broker.port) as tap:
        with started_agent(tmp_path, tap.port) as offline:
            wait_for_more_samples(offline, 8)
            offline.kill()
        journal |= offline.journal()
        with broker:
            for _ in range(2):
                with started_agent(tmp_path, tap.port) as reporting:
                    arrived = len(tap.acknowledged_timestamps())
                    wait_until_blocking(
                        lambda n=arrived: len(tap.acknowledged_timestamps()) > n + 3
                    )
                    reporting.kill()
                journal |= reporting.journal()
            with started_agent(tmp_path, tap.port) as last:
                wait_for_more_samples(last, 2)
                assert last.terminate() == 0
            journal |= last.journal()
    arrived_count = Counter(reading.timestamp for reading in set(tap.acknowledged_readings()))
    assert journal.items() <= arrived_count.items()
    # A kill may hit between the commit and its line in the journal: three kills, three samples.
    assert len(arrived_count) - len(journal) <= 3


def test_lost_acknowledgement_sends_the_same_readings_again(tmp_path: Path) -> None:
    with Broker(tmp_path / "broker") as broker, Tap(broker.port) as tap:
        with started_agent(tmp_path, tap.port) as agent:
            wait_for_more_samples(agent, 3)
            tap.lose_acknowledgements = 1
            wait_until_blocking(lambda: tap.connections == 2)
            before = set(agent.journal())
            wait_until_blocking(lambda: before <= tap.acknowledged_timestamps())
            assert agent.terminate() == 0
        assert_all_arrived(tap, agent.journal())
        assert len(tap.published) > len(tap.acknowledged)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_an_agent_whose_station_is_away(tmp_path: Path, number: int) -> None:
    with started_agent(tmp_path, free_port()) as agent:
        wait_for_more_samples(agent, 2)
        assert agent.terminate(number, timeout_s=4) == 0
    assert "agent_stopping" in agent.log()


def test_second_agent_on_the_same_spool_is_refused(tmp_path: Path) -> None:
    with started_agent(tmp_path, free_port()) as first:
        wait_for_more_samples(first, 1)
        with started_agent(tmp_path, free_port()) as second:
            assert second.process.wait(10) == 1
    assert "Another agent uses the spool" in second.log()


def test_wrong_key_is_told_in_one_sentence(tmp_path: Path) -> None:
    with (
        Broker(tmp_path / "broker", passwords={DEVICE_ID: "another-key"}) as broker,
        started_agent(tmp_path, broker.port, "--once") as agent,
    ):
        assert agent.process.wait(10) == 1
    last_line = agent.log().splitlines()[-1]
    assert last_line.startswith("fieldstation agent: The sample was not delivered: the station")
    assert "check --device-id and the key in --key-file" in last_line


def test_right_key_from_a_file_delivers_once_and_is_nowhere_in_the_log(tmp_path: Path) -> None:
    key_file = tmp_path / "device.key"
    key_file.write_text(DEVICE_KEY + "\n")
    key = {"FIELDSTATION_AGENT_KEY": "", "FIELDSTATION_AGENT_KEY_FILE": str(key_file)}
    with (
        Broker(tmp_path / "broker", passwords={DEVICE_ID: DEVICE_KEY}) as broker,
        Tap(broker.port) as tap,
    ):
        with started_agent(tmp_path, tap.port, "--once", **key) as agent:
            assert agent.process.wait(10) == 0
        assert_all_arrived(tap, agent.journal())
    assert len(agent.journal()) == 1
    assert DEVICE_KEY not in agent.log()


def test_agent_starts_without_the_rest_of_the_station() -> None:
    heavy = "{'fastapi', 'sqlalchemy', 'pydantic', 'structlog', 'asyncio', 'uvicorn'}"
    program = f"import sys, fieldstation.agent.__main__; print({heavy} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert result.stdout.decode().strip() == "set()"
