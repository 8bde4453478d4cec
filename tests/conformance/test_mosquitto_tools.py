"""mosquitto_pub, mosquitto_sub and mosquitto_rr, in both versions."""

import select
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.conformance.paho_client import properties
from tests.conformance.space import Space
from tests.services import missing_service
from tests.wait_until import wait_until_blocking

VERSIONS = pytest.mark.parametrize("version", ["311", "mqttv5"])
TIMEOUT_S = 20.0


@pytest.fixture(autouse=True)
def tools() -> None:
    for tool in ("pub", "sub", "rr"):
        if shutil.which(f"mosquitto_{tool}") is None:
            missing_service(f"no mosquitto_{tool}")


def command(space: Space, tool: str, *arguments: str) -> list[str]:
    port = str(space.broker.mqtt_port)
    who = ("-h", "127.0.0.1", "-p", port, "-u", space.username, "-P", space.key)
    return [f"mosquitto_{tool}", *who, *arguments]


def run(space: Space, tool: str, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        command(space, tool, *arguments),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@contextmanager
def listening(space: Space, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run mosquitto_sub; give it once it is subscribed."""
    with subprocess.Popen(
        command(space, "sub", *arguments, "-t", space.topic("ready")),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        with space.client() as client:

            def is_heard() -> bool:
                client.publish(space.topic("ready"), "ready")
                return has_line(process)

            wait_until_blocking(is_heard)
        try:
            yield process
        finally:
            process.kill()


def has_line(process: subprocess.Popen[str]) -> bool:
    assert process.stdout is not None
    found, _, _ = select.select([process.stdout], [], [], 0)
    return bool(found)


def lines_after_ready(process: subprocess.Popen[str], count: int) -> list[str]:
    assert process.stdout is not None
    found: list[str] = []
    while len(found) < count:
        line = process.stdout.readline().rstrip("\n")
        assert line or process.poll() is None
        if not line.endswith("ready"):
            found.append(line)
    return found


@VERSIONS
@pytest.mark.parametrize("qos", ["0", "1", "2"])
def test_a_line_from_one_to_the_other(space: Space, version: str, qos: str) -> None:
    with listening(
        space, "-V", version, "-q", qos, "-F", "%q %r %t %p", "-t", space.topic("a")
    ) as ear:
        sent = run(space, "pub", "-V", version, "-q", qos, "-t", space.topic("a"), "-m", "x")
        assert sent == (0, "")
        assert lines_after_ready(ear, 1) == [f"{qos} 0 {space.topic('a')} x"]


@VERSIONS
def test_retained_messages_and_their_end(space: Space, version: str) -> None:
    topic = space.topic("a")
    publish = ("-V", version, "-q", "1", "-r", "-t", topic)
    subscribe = ("-V", version, "-t", topic, "-F", "%r %p", "-W", "1")
    assert run(space, "pub", *publish, "-m", "kept") == (0, "")
    assert run(space, "sub", *subscribe, "-C", "1") == (0, "1 kept\n")
    assert run(space, "pub", *publish, "-n") == (0, "")
    code, output = run(space, "sub", *subscribe)
    assert (code, output.replace("Timed out\n", "")) == (27, "")


@VERSIONS
def test_a_session_keeps_what_came_meanwhile(space: Space, version: str) -> None:
    session = ["-V", version, "-i", space.name("c"), "-c", "-q", "1", "-t", space.topic("a")]
    if version == "mqttv5":
        session += ["-x", "300"]
    assert run(space, "sub", *session, "-E") == (0, "")
    for payload in "123":
        run(space, "pub", "-V", version, "-q", "1", "-t", space.topic("a"), "-m", payload)
    assert run(space, "sub", *session, "-C", "3") == (0, "1\n2\n3\n")


@VERSIONS
def test_a_will_of_a_client_that_is_killed(space: Space, version: str) -> None:
    topic = space.topic("gone")
    will = ("--will-topic", topic, "--will-payload", "bye", "--will-qos", "1")
    with space.client() as watcher:
        watcher.subscribe(topic)
        with listening(space, "-V", version, *will, "-t", space.topic("a")) as doomed:
            doomed.kill()
            assert watcher.texts(1) == ["bye"]


@VERSIONS
def test_a_wrong_key_is_told(space: Space, version: str) -> None:
    wrong = Space(space.broker, space.username, "fsu_" + "x" * 43)
    code, output = run(wrong, "pub", "-V", version, "-t", "a", "-m", "x", "-q", "1")
    assert code != 0
    assert "not authorised" in output.lower() or "bad user name" in output.lower()


def test_properties_of_mqtt_5(space: Space) -> None:
    topic = space.topic("a")
    with listening(space, "-V", "mqttv5", "-F", "%C|%R|%D|%E|%F|%P|%p", "-t", topic) as ear:
        properties = [
            *("-D", "publish", "content-type", "text/plain"),
            *("-D", "publish", "response-topic", space.topic("answer")),
            *("-D", "publish", "correlation-data", "7"),
            *("-D", "publish", "message-expiry-interval", "60"),
            *("-D", "publish", "payload-format-indicator", "1"),
            *("-D", "publish", "user-property", "a", "1"),
            *("-D", "publish", "user-property", "a", "2"),
        ]
        run(space, "pub", "-V", "mqttv5", "-t", topic, "-m", "x", "-q", "1", *properties)
        (line,) = lines_after_ready(ear, 1)
        content, answer, correlation, expiry, form, pairs, payload = line.split("|")
        assert (content, answer, correlation) == ("text/plain", space.topic("answer"), "7")
        assert (expiry in {"59", "60"}, form, pairs, payload) == (True, "1", "a:1 a:2", "x")


def test_a_request_gets_its_response(space: Space) -> None:
    with space.client() as server:
        server.subscribe(space.topic("question"))
        asking = command(space, "rr", "-V", "mqttv5", "-t", space.topic("question"))
        with subprocess.Popen(
            [*asking, "-e", space.topic("answer"), "-m", "2+2", "-q", "1"],
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            (question,) = server.receive(1)
            server.publish(properties(question).ResponseTopic, "4")
            output, _ = process.communicate(timeout=TIMEOUT_S)
            assert output == "4\n"
