"""Retained messages: the last one of a topic stands, an empty one deletes it."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete

from fieldstation.db.database import Database
from fieldstation.domains.messaging import service
from fieldstation.domains.messaging.models import RetainedMessageRow
from fieldstation.domains.messaging.queries import KEYS_PER_STATEMENT
from fieldstation.domains.messaging.schemas import TOPIC_BYTES_MAX, Retained

pytestmark = pytest.mark.anyio

CHANGES = st.lists(
    st.builds(
        Retained,
        st.sampled_from(["one", "two"]),
        st.sampled_from(["a", "a/b", "é/ü", "A"]),
        st.binary(max_size=3),
        st.integers(0, 1),
    ),
    max_size=12,
)


async def save(database: Database, changes: list[Retained]) -> None:
    async with database.transaction() as session:
        await service.save(session, changes, node_id="here")


async def load(database: Database) -> dict[tuple[str, str], tuple[bytes, int]]:
    async with database.reading() as session:
        kept = await service.load_retained(session)
    return {(m.organization_id, m.topic): (m.payload, m.qos) for m in kept}


@given(turns=st.lists(CHANGES, max_size=4))
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_the_table_is_what_a_dictionary_would_be(
    own_database: Database, turns: list[list[Retained]]
) -> None:
    async with own_database.transaction() as session:
        await session.execute(delete(RetainedMessageRow))
    expected: dict[tuple[str, str], tuple[bytes, int]] = {}
    for changes in turns:
        await save(own_database, changes)
        for change in changes:
            key = (change.organization_id, change.topic)
            expected.pop(key, None)
            if change.payload:
                expected[key] = (change.payload, change.qos)
    assert await load(own_database) == expected


async def test_many_topics_at_once_and_the_longest_one(own_database: Database) -> None:
    longest = "ä" * (TOPIC_BYTES_MAX // 2)
    many = [Retained("one", f"t/{n}", b"x", 0) for n in range(KEYS_PER_STATEMENT * 2 + 1)]
    await save(own_database, [*many, Retained("one", longest, bytes(range(256)), 1)])
    await save(own_database, [Retained("one", f"t/{n}", b"", 0) for n in range(len(many))])
    assert await load(own_database) == {("one", longest): (bytes(range(256)), 1)}
