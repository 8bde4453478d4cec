"""What the documentation pages load: complete, compressed, kept by its content, licensed."""

import gzip
import hashlib
import json
import re
from importlib.resources import files

import httpx2
import pytest

from fieldstation.web.docs.assets import load_assets
from tests.station_process import StationProcess

BUNDLES = files("fieldstation.web.docs") / "bundles"
LOADED = re.compile(r'(?:src|href)="(/docs/assets/[^"]+)"')


def test_the_bundles_are_what_the_list_says() -> None:
    listed = json.loads((BUNDLES / "bundles.json").read_text())

    for name, about in listed.items():
        if name.endswith((".js", ".css")):
            content = gzip.decompress((BUNDLES / f"{name}.gz").read_bytes())
            assert hashlib.sha256(content).hexdigest() == about["sha256"], name
    assert {about["package"] for about in listed.values()} == {
        "@scalar/api-reference",
        "swagger-ui-dist",
        "redoc",
    }
    for product in ("scalar", "swagger-ui", "redoc"):
        assert len((BUNDLES / f"LICENSE.{product}.txt").read_text()) > 1000


@pytest.mark.parametrize("page", ["/docs", "/swagger", "/redoc", "/docs/websocket"])
def test_a_page_has_a_new_nonce_each_time_and_loads_what_is_there(
    station: StationProcess, page: str
) -> None:
    first, second = (httpx2.get(station.url + page) for _ in range(2))

    policy = first.headers["content-security-policy"]
    assert "unsafe-eval" not in policy
    assert "script-src 'self' 'nonce-" in policy
    assert policy != second.headers["content-security-policy"]
    loaded = LOADED.findall(first.text)
    assert loaded
    for address in loaded:
        answer = httpx2.get(station.url + address)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers["content-encoding"] == "gzip"


def test_a_client_without_gzip_gets_it_plain(station: StationProcess) -> None:
    plain = httpx2.get(f"{station.url}/openapi.json", headers={"Accept-Encoding": "identity"})
    compressed = httpx2.get(f"{station.url}/openapi.json")

    assert "content-encoding" not in plain.headers
    assert compressed.headers["content-encoding"] == "gzip"
    assert plain.json() == compressed.json()
    assert plain.headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize(
    "path", ["0000/scalar.js", "{version}/nothing.js", "{version}/bundles.json"]
)
def test_what_is_no_asset_of_this_version_is_not_found(station: StationProcess, path: str) -> None:
    page = httpx2.get(f"{station.url}/docs").text
    version = LOADED.findall(page)[0].split("/")[3]

    answer = httpx2.get(f"{station.url}/docs/assets/{path.format(version=version)}")

    assert answer.status_code == 404
    assert answer.json()["error"] == "not_found"


def test_every_file_is_of_a_known_kind() -> None:
    assert {"scalar.js", "swagger-ui.js", "swagger-ui.css", "redoc.js"} < set(load_assets())
