"""Debian's Chromium over its DevTools protocol: what a page shows, asks for and complains of."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from websockets.sync.client import ClientConnection, connect

from tests.services import missing_service
from tests.wait_until import wait_until_blocking

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
    "--window-size=1400,1000",
)
START_TIMEOUT_S = 30.0
ANSWER_TIMEOUT_S = 30.0
NOTE_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(`${event.effectiveDirective}: ${event.blockedURI} ${event.sample}`));
"""


class Tab:
    """One open page with everything it asked for and complained of."""

    def __init__(self, browser: "Browser", session: str) -> None:
        self._browser = browser
        self._session = session
        self.requested: list[str] = []
        self.complaints: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Page.addScriptToEvaluateOnNewDocument", source=NOTE_VIOLATIONS)

    def call(self, method: str, **parameters: Any) -> Any:
        """Send one command and return its result."""
        return self._browser.call(method, session=self._session, **parameters)

    def open(self, address: str) -> None:
        """Go to a page and wait until its scripts have run."""
        self.call("Page.navigate", url=address)
        self.wait_for("document.readyState === 'complete'")

    def ask(self, expression: str) -> Any:
        """Evaluate JavaScript in the page; promises are awaited."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, expression: str, *, timeout_s: float = 20.0) -> None:
        """Wait until JavaScript in the page is true."""
        wait_until_blocking(lambda: bool(self.ask(f"!!({expression})")), timeout_s=timeout_s)

    def click(self, selector: str, *, containing: str = "") -> None:
        """Click the first element of the selector that shows the text."""
        self.wait_for(element(selector, containing))
        self.ask(f"({element(selector, containing)}).click()")

    def type(self, text: str) -> None:
        """Type into whatever has the focus."""
        self.call("Input.insertText", text=text)

    def close(self) -> None:
        self.call("Page.close")

    def first_paint_ms(self) -> float:
        """Return when the first content was painted, counted from the navigation."""
        paint = "performance.getEntriesByName('first-contentful-paint')[0]"
        self.wait_for(paint)
        return float(self.ask(f"{paint}.startTime"))

    def foreign_requests(self, origin: str) -> list[str]:
        """Return what was asked of anybody else; a socket to the same host and port is none."""
        return [
            address
            for address in self.requested
            if urlsplit(address).scheme not in {"data", "blob"}
            and urlsplit(address).netloc != urlsplit(origin).netloc
        ]

    def violations(self) -> list[str]:
        """Return what the content security policy forbade."""
        return list(self.ask("window.violations"))

    def note(self, event: dict[str, Any]) -> None:
        """Remember what an event says."""
        method, said = event["method"], event["params"]
        if method in {"Network.requestWillBeSent", "Network.webSocketCreated"}:
            self.requested.append(said["request"]["url"] if "request" in said else said["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(said["exceptionDetails"])[:2000])
        elif method == "Runtime.consoleAPICalled" and said["type"] in {
            "error",
            "warning",
            "assert",
        }:
            self.complaints.append(f"{said['type']}: {json.dumps(said['args'])[:2000]}")
        elif method == "Log.entryAdded" and said["entry"]["level"] in {"error", "warning"}:
            self.complaints.append(f"{said['entry']['text']} {said['entry'].get('url', '')}")


class Browser:
    """A running Chromium; one connection carries every tab."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._calls = 0
        self._tabs: dict[str, Tab] = {}

    def new_tab(self) -> Tab:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._tabs[session] = tab = Tab(self, session)
        return tab

    def call(self, method: str, *, session: str | None = None, **parameters: Any) -> Any:
        """Send one command, noting events until its answer is there."""
        self._calls += 1
        command = {"id": self._calls, "method": method, "params": parameters}
        if session is not None:
            command["sessionId"] = session
        self._connection.send(json.dumps(command))
        while True:
            message = json.loads(self._connection.recv(timeout=ANSWER_TIMEOUT_S))
            if message.get("id") == self._calls:
                assert "error" not in message, f"{method}: {message['error']}"
                return message["result"]
            tab = self._tabs.get(message.get("sessionId", ""))
            if tab is not None and "method" in message:
                tab.note(message)


def element(selector: str, containing: str) -> str:
    """Return JavaScript for the first visible element that shows the text, also in shadow roots."""
    return (
        f"[...document.querySelectorAll({json.dumps(selector)})].find((found) =>"
        f" found.textContent.includes({json.dumps(containing)}) && found.checkVisibility())"
    )


@contextmanager
def running_browser(directory: Path) -> Iterator[Browser]:
    """Start Chromium with an empty profile and end it; without it a visible skip, or a failure if
    required."""
    program = shutil.which("chromium")
    if program is None:
        missing_service("no chromium (Debian package chromium)")
    process = subprocess.Popen(
        [program, *FLAGS, f"--user-data-dir={directory}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        port_file = directory / "DevToolsActivePort"
        wait_until_blocking(
            lambda: port_file.exists() and port_file.read_text().count("\n") >= 1,
            timeout_s=START_TIMEOUT_S,
        )
        port, path = port_file.read_text().splitlines()
        with connect(f"ws://127.0.0.1:{port}{path}", max_size=None, proxy=None) as connection:
            yield Browser(connection)
    finally:
        process.terminate()
        process.wait(START_TIMEOUT_S)
