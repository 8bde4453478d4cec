"""The README's tour, executed as it is written, on a demo station with a real agent."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.services import missing_service
from tests.station_process import READY
from tests.wait_until import wait_until_blocking

CHECKOUT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PASSWORD_LINE = re.compile(r"^  Password\s+(\S+)$", re.MULTILINE)


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Run ``fieldstation demo`` and return what a new user reads off its output."""
    output = tmp_path / "output"
    command = [sys.executable, "-m", "fieldstation", "demo", "--port", "0", "--mqtt-port", "0"]
    with (
        output.open("w") as stream,
        subprocess.Popen(
            [*command, "--data-dir", str(tmp_path / "data")], stdout=stream, stderr=stream
        ) as process,
    ):
        try:
            wait_until_blocking(
                lambda: PASSWORD_LINE.search(output.read_text()) is not None, timeout_s=30
            )
            text = output.read_text()
            ready, password = READY.search(text), PASSWORD_LINE.search(text)
            assert ready is not None
            assert password is not None
            url = ready[1]
            wait_until_blocking(lambda: readings_known(url) > 0, timeout_s=30)
            yield {"STATION": ready[1], "MQTT_PORT": ready[2], "PASSWORD": password[1]}
        finally:
            process.terminate()
            assert process.wait(20) == 0


def readings_known(url: str) -> int:
    return int(httpx2.get(f"{url}/api/status").json()["latest_readings_count"])


def test_the_tour_works_as_written(demo: dict[str, str]) -> None:
    for program in ("curl", "mosquitto_pub"):
        if shutil.which(program) is None:
            missing_service(f"{program} is not installed")
    blocks = BLOCK.findall((CHECKOUT / "README.md").read_text())
    marked = [f"echo '=== {number}'\n{block}" for number, block in enumerate(blocks)]
    run = subprocess.run(
        ["bash", "-euo", "pipefail"],
        input="\n".join(marked),
        cwd=CHECKOUT,
        env={**os.environ, **demo},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    said = re.split(r"=== \d+\n", run.stdout)[1:]
    _, this_host, _, sent, asked, taken, kept, live, refused = said
    assert '"sensor_type":"cpu_usage"' in this_host
    assert sent.startswith('{"accepted":1,"duplicates":0,"rejected":[]}')
    assert asked.count('"sensor_type":"temperature"') >= 3
    assert asked.count('"sensor_type":"humidity"') >= 3
    assert asked.count('"value":1013.2') >= 1
    assert taken.startswith("id,timestamp,device_id,sensor_type,sensor_id,value,unit,origin,")
    assert ",temperature,temperature,21.5,°C,," in taken
    assert '"raw_days":30' in kept
    assert '"rules":[]' in kept
    assert '"sensor_type":"light"' in live
    assert '"value":740.0' in live
    assert '"error":"malformed"' in refused
