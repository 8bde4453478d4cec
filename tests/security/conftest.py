"""Fixtures of the security tests: a station as it stands in production, behind a proxy."""

from collections.abc import Iterator

import pytest

from tests.station_process import StationProcess, running_station

ORIGIN = "https://console.example.org"
HOST = "field.example.org"
PRODUCTION = {
    "ENVIRONMENT": "production",
    "SECRET_KEY": "a secret of the tests that is long enough",
    "REGISTRATION": "open",
    "CORS_ORIGINS": ORIGIN,
    "ALLOWED_HOSTS": f"{HOST},*.lab.example.org,127.0.0.1",
    "API_PUBLIC_URL": f"https://{HOST}",
    "HTTPS_REDIRECT": "true",
    "TRUSTED_PROXIES": "127.0.0.0/8",
}


@pytest.fixture(scope="session")
def production(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StationProcess]:
    directory = tmp_path_factory.mktemp("production") / "data"
    with running_station(directory, environment=PRODUCTION, measured=True) as station:
        yield station
