"""The documentation pages in a real browser, under the policy that they are served with."""

from collections.abc import Iterator

import pytest

from tests.browser import Tab, element
from tests.station_process import StationProcess, running_station

PAGES = ("/docs", "/swagger", "/redoc", "/docs/websocket")
VIEWERS = ("/docs", "/swagger", "/redoc")
FIRST_PAINT_MS_MAX = 1000
HEALTH = "tag/system/GET/api/v1/health"


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StationProcess]:
    with running_station(tmp_path_factory.mktemp("station")) as station:
        yield station


def wait_until_shown(tab: Tab, page: str) -> None:
    """Wait until a viewer has put the reference in place of the first words."""
    if page in VIEWERS:
        tab.wait_for("document.getElementById('loading') === null")
        tab.wait_for("document.body.innerText.includes('/api/v1/devices')")


@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_itself_from_this_station_alone(
    station: StationProcess, tab: Tab, page: str
) -> None:
    tab.open(station.url + page)
    wait_until_shown(tab, page)

    assert tab.violations() == []
    assert tab.complaints == []
    assert tab.foreign_requests(station.url) == []
    assert tab.first_paint_ms() < FIRST_PAINT_MS_MAX


def test_the_search_of_scalar_finds_a_route(station: StationProcess, tab: Tab) -> None:
    tab.open(f"{station.url}/docs")
    wait_until_shown(tab, "/docs")

    tab.click("button", containing="Search")
    tab.wait_for("document.activeElement.tagName === 'INPUT'")
    tab.type("heartbeat")
    tab.wait_for(element("[role=option]", "/api/v1/devices/{device_id}/heartbeat"))

    assert tab.complaints == []
    assert tab.violations() == []


def test_scalar_shows_code_in_three_languages(station: StationProcess, tab: Tab) -> None:
    tab.open(f"{station.url}/docs#{HEALTH}")
    wait_until_shown(tab, "/docs")
    tab.wait_for(element(f"section[id$='{HEALTH}']", "curl http"))

    tab.ask("scrollTo(0, 0)")
    for language, sign in (("Python", "import http.client"), ("Node.js", "from 'undici'")):
        tab.click("[role=tab]", containing=language)
        tab.wait_for(element(f"section[id$='{HEALTH}']", sign))

    assert tab.complaints == []
    assert tab.violations() == []


def test_an_example_request_of_swagger_ui_runs(station: StationProcess, tab: Tab) -> None:
    tab.open(f"{station.url}/swagger#/System/systemReadHealth")
    wait_until_shown(tab, "/swagger")

    tab.click("button", containing="Try it out")
    tab.click("button.execute", containing="Execute")
    tab.wait_for("document.querySelector('.live-responses-table')?.innerText.includes('healthy')")

    assert f"{station.url}/api/v1/health" in tab.requested
    assert tab.complaints == []
    assert tab.violations() == []


def test_an_example_request_of_scalar_runs(station: StationProcess, tab: Tab) -> None:
    tab.open(f"{station.url}/docs#{HEALTH}")
    wait_until_shown(tab, "/docs")

    tab.click(f"[id$='{HEALTH}'] button", containing="Test Request")
    tab.click("button", containing="Send")
    tab.wait_for("document.body.innerText.includes('200 OK')")

    assert f"{station.url}/api/v1/health" in tab.requested
    assert tab.complaints == []
    assert tab.violations() == []
