"""Fixtures of the fault tests: what a fault takes away belongs to one test alone."""

from collections.abc import Iterator

import pytest

from tests.services import fresh_postgresql_database


@pytest.fixture
def own_database() -> Iterator[str]:
    """A PostgreSQL database for one test alone; its URL."""
    with fresh_postgresql_database() as url:
        yield url
