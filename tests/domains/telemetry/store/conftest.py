"""Fixtures of the tests that concern one database only."""

from tests.contracts.conftest import postgresql_url

__all__ = ["postgresql_url"]
