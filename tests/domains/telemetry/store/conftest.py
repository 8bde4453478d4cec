"""Fixtures of the tests that concern one database only."""

from tests.contracts.conftest import mariadb_url, postgresql_url

__all__ = ["mariadb_url", "postgresql_url"]
