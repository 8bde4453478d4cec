"""A store of readings beside the station's tables, on each database."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contracts.reading_databases import ReadingStoreUnderTest, reading_database


@pytest.fixture
async def store(tmp_path: Path, own_address: str | None) -> AsyncIterator[ReadingStoreUnderTest]:
    url = own_address or f"sqlite:///{tmp_path / 'telemetry.db'}"
    async with reading_database(url) as database:
        yield await database.open()
