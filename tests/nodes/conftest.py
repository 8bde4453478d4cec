"""Two nodes of one station: real processes on one PostgreSQL database and one Redis."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients import StationClient
from tests.redis_process import RedisProcess, running_redis
from tests.services import fresh_postgresql_database
from tests.station_process import StationProcess, running_station

SECRET = "the nodes of one station sign with one key"


@dataclass(frozen=True)
class Nodes:
    """Two nodes, ``a`` and ``b``; ``redis`` is their bus."""

    a: StationProcess
    b: StationProcess
    redis: RedisProcess | None


@contextmanager
def running_nodes(directory: Path, *, with_redis: bool = True) -> Iterator[Nodes]:
    with ExitStack() as stack:
        url = stack.enter_context(fresh_postgresql_database())
        redis = stack.enter_context(running_redis(directory)) if with_redis else None
        environment = {"SECRET_KEY": SECRET}
        if redis is not None:
            environment["REDIS_URL"] = redis.url
        a, b = (
            stack.enter_context(
                running_station(
                    directory / name,
                    database_url=url,
                    environment={**environment, "NODE_ID": f"node-{name}"},
                )
            )
            for name in "ab"
        )
        yield Nodes(a, b, redis)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """Two nodes that the tests of a module share."""
    with running_nodes(tmp_path_factory.mktemp("nodes")) as nodes:
        yield nodes


@pytest.fixture
def own_nodes(tmp_path: Path) -> Iterator[Nodes]:
    """Two nodes of one test, which may kill one or their Redis."""
    with running_nodes(tmp_path) as nodes:
        yield nodes


@contextmanager
def on_both(nodes: Nodes) -> Iterator[tuple[StationClient, StationClient]]:
    """Give an owner signed in at ``a``, and the same owner at ``b``."""
    with StationClient(nodes.a.url) as at_a, StationClient(nodes.b.url) as at_b:
        at_a.sign_up()
        at_b.email = at_a.email
        yield at_a, at_b.log_in()
