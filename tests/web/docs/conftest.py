"""A browser for the documentation pages, started once."""

from collections.abc import Iterator

import pytest

from tests.browser import Browser, Tab, running_browser


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with running_browser(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
def tab(browser: Browser) -> Iterator[Tab]:
    tab = browser.new_tab()
    yield tab
    tab.close()
