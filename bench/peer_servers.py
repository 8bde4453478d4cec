"""The servers that the station is measured against, each on a free port, with nothing kept."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.processes import PACKAGE_PARENT, ServerProcess, accepts_connections, free_port

AMQTT_ENVIRONMENT = Path(__file__).parent / "peers" / "amqtt"
AMQTT = AMQTT_ENVIRONMENT / "bin" / "amqtt"
DEBIAN_SERVER_DIRECTORIES = "/usr/sbin:/usr/local/sbin"
# The station's own server flags, so that only the application differs.
UVICORN_FLAGS = (
    "--loop",
    "uvloop",
    "--http",
    "httptools",
    "--no-access-log",
    "--log-level",
    "warning",
)

MOSQUITTO_CONFIGURATION = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence false
log_type error
log_type warning
"""

AMQTT_CONFIGURATION = """\
listeners:
  default:
    type: tcp
    bind: 127.0.0.1:{port}
plugins:
  amqtt.plugins.authentication.AnonymousAuthPlugin:
    allow_anonymous: true
"""


@dataclass(frozen=True, slots=True)
class Peer:
    """A running peer."""

    process: ServerProcess
    port: int


@contextmanager
def hello_world(work_dir: Path) -> Iterator[Peer]:
    """Run a bare FastAPI application in one uvicorn process."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "bench.hello_world:app", "--port", str(port)]
    with ServerProcess(
        [*command, *UVICORN_FLAGS], log=work_dir / "hello_world.log", directory=PACKAGE_PARENT
    ) as process:
        process.wait_until(lambda: accepts_connections(port))
        yield Peer(process=process, port=port)


def mosquitto_program() -> str | None:
    """Return Mosquitto's program; Debian puts it where a user's PATH may not look."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path=DEBIAN_SERVER_DIRECTORIES)


@contextmanager
def mosquitto(work_dir: Path) -> Iterator[Peer]:
    """Run Mosquitto without persistence and without a subscriber."""
    program = mosquitto_program()
    if program is None:
        raise FileNotFoundError("mosquitto is not installed")
    port = free_port()
    configuration = work_dir / "mosquitto.conf"
    configuration.write_text(MOSQUITTO_CONFIGURATION.format(port=port))
    with ServerProcess(
        [program, "-c", str(configuration)], log=work_dir / "mosquitto.log"
    ) as process:
        process.wait_until(lambda: accepts_connections(port))
        yield Peer(process=process, port=port)


def amqtt_program() -> str | None:
    return str(AMQTT) if AMQTT.exists() else None


@contextmanager
def amqtt(work_dir: Path) -> Iterator[Peer]:
    """Run the pure-Python broker with the fewest plugins it starts with."""
    port = free_port()
    configuration = work_dir / "amqtt.yaml"
    configuration.write_text(AMQTT_CONFIGURATION.format(port=port))
    with ServerProcess(
        [str(AMQTT), "-c", str(configuration)], log=work_dir / "amqtt.log"
    ) as process:
        process.wait_until(lambda: accepts_connections(port))
        yield Peer(process=process, port=port)


def amqtt_version() -> str | None:
    """Return the version in amqtt's own environment, ``None`` when it is not installed."""
    if amqtt_program() is None:
        return None
    answer = subprocess.run(
        [
            str(AMQTT_ENVIRONMENT / "bin" / "python"),
            "-c",
            "from importlib.metadata import version; print(version('amqtt'))",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return answer.stdout.strip()
