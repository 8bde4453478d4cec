"""A stranger with nothing but the documentation pages gets from no account to a live reading."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser import Browser, Tab, element
from tests.security.conftest import PRODUCTION
from tests.station_process import StationProcess, running_station

FIRST_PAINT_MS_MAX = 1_000
USABLE_MS_MAX = 10_000
LAST_EDITOR = "[...document.querySelectorAll('.cm-content')].at(-1)"
TOKEN = element("input[placeholder=Token]", "")
PATH_VALUE = element("[data-placeholder=Value]", "")
SENT = "[...document.querySelectorAll('[aria-label^=Include]')].filter((box) => box.checked)"


class Reference:
    """The reference at /docs, used as a reader uses it."""

    def __init__(self, tab: Tab, url: str) -> None:
        self.tab = tab
        self.url = url

    def try_out(self, operation: str) -> None:
        """Open the form that sends an operation's request; it begins with the first example."""
        self.tab.open(f"{self.url}/docs#{operation}")
        self.tab.click(f"[id$='{operation}'] button", containing="Test Request")
        self.tab.wait_for(element("button", "Send"))

    def fill(self, field: str, text: str) -> None:
        """Replace what stands in a field."""
        self.tab.wait_for(field)
        self.tab.ask(f"({field}).focus()")
        self.tab.ask("document.execCommand('selectAll')")
        self.tab.type(text)

    def send(self, status: str) -> dict[str, Any]:
        """Press Send and read the answer that is shown."""
        self.tab.click("button", containing="Send")
        self.tab.wait_for(f"document.body.innerText.includes({json.dumps(status)})")
        self.tab.wait_for("document.querySelectorAll('.cm-content').length > 1")
        return json.loads(self.tab.ask(f"{LAST_EDITOR}.textContent"))


@pytest.fixture(scope="module", params=["development", "production"])
def fresh(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StationProcess]:
    """A station without accounts; the second one knows itself by another address."""
    environment = {**PRODUCTION, "HTTPS_REDIRECT": "false"}
    directory = tmp_path_factory.mktemp(request.param)
    if request.param == "development":
        environment = {}
    with running_station(directory, environment=environment) as station:
        yield station


def test_a_stranger_gets_from_nothing_to_a_live_reading(
    fresh: StationProcess, browser: Browser, tab: Tab
) -> None:
    reference, live = Reference(tab, fresh.url), browser.new_tab()

    reference.try_out("tag/authentication/POST/api/v1/auth/register")
    assert reference.send("201 Created")["email"] == "ada@example.org"
    reference.try_out("tag/authentication/POST/api/v1/auth/login")
    token = reference.send("200 OK")["access_token"]

    reference.try_out("tag/devices/POST/api/v1/devices")
    reference.fill(TOKEN, token)
    device = reference.send("201 Created")

    live.open(f"{fresh.url}/docs/websocket")
    live.ask("document.querySelector('input[name=token]').focus()")
    live.type(token)
    live.click("button", containing="Open a socket")
    live.wait_for(element("#frames", '"type":"pong"'))

    reference.try_out("tag/telemetry/POST/api/v1/devices/{device_id}/readings")
    reference.fill(TOKEN, device["api_key"])
    reference.fill(PATH_VALUE, device["id"])
    assert reference.send("201 Created")["accepted"] == 1
    live.wait_for(element("#frames", f'"device_id":"{device["id"]}"'))

    for used in (tab, live):
        assert used.complaints == []
        assert used.violations() == []
        assert used.foreign_requests(fresh.url) == []
    live.close()


def test_the_reference_is_painted_at_once_and_soon_usable(fresh: StationProcess, tab: Tab) -> None:
    tab.open(f"{fresh.url}/docs")
    tab.wait_for(element("button", "Test Request"))

    assert tab.first_paint_ms() < FIRST_PAINT_MS_MAX
    assert float(tab.ask("performance.now()")) < USABLE_MS_MAX


@pytest.mark.parametrize(
    "operation", ["tag/devices/GET/api/v1/devices", "tag/telemetry/GET/api/v1/readings"]
)
def test_a_list_is_asked_for_without_the_filters_of_an_example(
    fresh: StationProcess, tab: Tab, operation: str
) -> None:
    Reference(tab, fresh.url).try_out(operation)
    tab.wait_for(f"{SENT}.length > 0")

    sent = tab.ask(f"{SENT}.map((box) => box.getAttribute('aria-label'))")
    assert sent == ["Include accept in request"]
