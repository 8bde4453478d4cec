"""MQTT sessions: the tables hold what applying every change one by one would leave."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete

from fieldstation.db.database import Database
from fieldstation.domains.messaging import service
from fieldstation.domains.messaging.queries import OF_SESSIONS
from fieldstation.domains.messaging.schemas import (
    Change,
    KeptSession,
    MessageSent,
    MessageState,
    QueuedMessage,
    ReceivedState,
    SessionCleared,
    SessionEnded,
    SessionState,
    SubscriptionState,
)
from tests.adapters.mqtt_server.kept_sessions import KeptSessions

pytestmark = pytest.mark.anyio

WHO = (st.sampled_from(["one", "two"]), st.sampled_from(["c", "ü"]))
MESSAGES = st.builds(
    QueuedMessage,
    position=st.integers(0, 1 << 40),
    topic=st.sampled_from(["a", "a/b"]),
    payload=st.binary(max_size=3),
    qos=st.integers(1, 2),
    retain=st.booleans(),
    properties=st.binary(max_size=3),
    expires_us=st.integers(0, 1 << 60),
    sent=st.booleans(),
    released=st.booleans(),
)
CHANGES = st.lists(
    st.one_of(
        st.builds(SessionState, *WHO, st.just("me"), st.integers(1, 99), st.integers(0, 1 << 60)),
        st.builds(SessionEnded, *WHO),
        st.builds(SessionCleared, *WHO),
        st.builds(MessageSent, *WHO, st.integers(1, 3)),
        st.builds(
            SubscriptionState,
            *WHO,
            st.sampled_from(["a/#", "+"]),
            st.none() | st.integers(0, 0x2E),
            st.integers(0, 9),
        ),
        st.builds(MessageState, *WHO, st.integers(1, 3), st.none() | MESSAGES),
        st.builds(ReceivedState, *WHO, st.integers(1, 3), st.booleans()),
    ),
    max_size=15,
)


def comparable(kept: list[KeptSession]) -> dict[tuple[str, str], object]:
    return {
        (each.state.organization_id, each.state.client_id): (
            each.state,
            {one.topic_filter: one for one in each.subscriptions},
            dict(each.messages),
            set(each.received),
        )
        for each in kept
    }


@given(turns=st.lists(CHANGES, max_size=4))
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_the_tables_are_what_applying_each_change_would_leave(
    own_database: Database, turns: list[list[Change]]
) -> None:
    async with own_database.transaction() as session:
        for table in OF_SESSIONS:
            await session.execute(delete(table))
    expected = KeptSessions()
    for changes in turns:
        async with own_database.transaction() as session:
            await service.save(session, changes, node_id="here")
        for change in changes:
            expected.apply(change)
    async with own_database.transaction() as session:
        kept = await service.load_sessions(session, node_id="here")
    assert comparable(kept) == comparable(expected.load())
    for each in kept:
        order = [(not message.released, message.position) for _, message in each.messages]
        assert order == sorted(order)
