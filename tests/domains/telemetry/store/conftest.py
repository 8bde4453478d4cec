"""Fixtures of the tests that concern one database only."""

from tests.contracts.conftest import anyio_backend, postgresql_url

__all__ = ["anyio_backend", "postgresql_url"]
