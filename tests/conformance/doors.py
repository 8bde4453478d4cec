"""Ways into the station that a test is run through: version and transport."""

import pytest

from tests.conformance.space import TCP, WEBSOCKET

VERSIONS = pytest.mark.parametrize("version", [4, 5], ids=["v3", "v5"])
DOORS = pytest.mark.parametrize(
    ("version", "transport"),
    [(4, TCP), (5, TCP), (4, WEBSOCKET), (5, WEBSOCKET)],
    ids=["v3", "v5", "v3-websocket", "v5-websocket"],
)
