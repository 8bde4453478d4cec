"""Fixtures of the fault tests: what a fault takes away belongs to one test alone."""

import os
import random
import sys
from collections.abc import Iterator

import pytest

from tests.services import fresh_server_database


@pytest.fixture
def own_database(request: pytest.FixtureRequest) -> Iterator[str]:
    """A database for one test alone, on PostgreSQL unless the test names the server; its URL."""
    with fresh_server_database(getattr(request, "param", "postgresql")) as url:
        yield url


@pytest.fixture
def chance() -> random.Random:
    """Chance that FAULT_SEED repeats; a failing test shows the seed in its captured output."""
    seed = int(os.environ.get("FAULT_SEED") or random.SystemRandom().getrandbits(32))
    sys.stdout.write(f"repeat with FAULT_SEED={seed}\n")
    return random.Random(seed)  # noqa: S311 it must be repeatable, not secret
