"""Every change leaves a row, and the chain of rows shows when one was touched."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import delete, func, select, update

from fieldstation.db.database import Database
from fieldstation.domains.audit import service
from fieldstation.domains.audit.models import AuditEntry
from fieldstation.domains.audit.schemas import STATION, Actor, Change
from tests.clients import StationClient, expect
from tests.domains.conftest import Rows

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def audited(rows: Rows, entity_id: str) -> list[dict[str, Any]]:
    """Return an entity's rows, oldest first."""
    found = rows(f"SELECT * FROM audit_entry WHERE entity_id = '{entity_id}' ORDER BY id")  # noqa: S608
    for row in found:
        for side in ("before", "after"):
            if isinstance(row[side], str):
                row[side] = json.loads(row[side])
    return found


def test_each_change_of_a_device_leaves_a_row_with_who_and_what(
    client: StationClient, rows: Rows
) -> None:
    device = client.register_device(name="pump", tags=["a"])
    path = f"/api/v1/devices/{device.id}"
    headers = {"X-Correlation-ID": "audit-7"}
    expect(client.http.patch(path, json={"name": "fan", "tags": ["a"]}, headers=headers), 200)
    expect(client.http.patch(path, json={"name": "fan"}), 200)  # changes nothing
    expect(client.http.delete(path), 204)
    made, changed, gone = audited(rows, device.id)
    assert [row["action"] for row in (made, changed, gone)] == [
        "device.registered",
        "device.updated",
        "device.deleted",
    ]
    assert made["after"]["name"] == "pump"
    assert made["before"] in (None, "null")
    assert (changed["before"], changed["after"]) == ({"name": "pump"}, {"name": "fan"})
    assert changed["correlation_id"] == "audit-7"
    assert gone["before"]["name"] == "fan"
    me = client.get("/api/v1/auth/me")
    for row in (made, changed, gone):
        assert (row["actor_kind"], row["actor_id"]) == ("user", me["id"])
        assert row["peer"] == "127.0.0.1"
        assert row["entity_kind"] == "device"


def test_keys_leave_rows_without_their_secret(client: StationClient, rows: Rows) -> None:
    device = client.register_device()
    keys = f"/api/v1/devices/{device.id}/keys"
    issued = expect(client.http.post(keys, json={"name": "May"}), 201)
    expect(client.http.delete(f"{keys}/{issued['id']}"), 204)
    found = audited(rows, issued["id"])
    assert [row["action"] for row in found] == ["api_key.issued", "api_key.revoked"]
    assert found[0]["after"]["subject_id"] == device.id
    assert issued["api_key"] not in repr(found)


def test_what_was_refused_leaves_no_row(
    client: StationClient, stranger: StationClient, rows: Rows
) -> None:
    device = client.register_device()
    stranger.http.patch(f"/api/v1/devices/{device.id}", json={"name": "mine"})
    client.http.patch(f"/api/v1/devices/{device.id}", json={"name": ""})
    assert [row["action"] for row in audited(rows, device.id)] == ["device.registered"]


async def write(database: Database, count: int, *, actor: Actor = STATION) -> None:
    async with database.transaction() as session:
        for n in range(count):
            change = Change(
                "thing.changed", "thing", f"thing-{n}", after={"n": n, "ü": [1.5, None]}
            )
            service.record(session, change, actor=actor, organization_id="org", now=NOW)


async def chain(database: Database) -> int:
    async with database.transaction() as session:
        return await service.chain_new_entries(session)


async def verify(database: Database) -> int | None:
    async with database.reading() as session:
        return await service.verify_chain(session)


@pytest.mark.anyio
class TestChain:
    """The chain by hash, on a real database."""

    async def test_it_holds_over_several_turns(self, own_database: Database) -> None:
        assert await verify(own_database) is None
        for count in (3, 1, 2):
            await write(own_database, count)
            assert await chain(own_database) == count
        assert await chain(own_database) == 0
        assert await verify(own_database) is None
        async with own_database.reading() as session:
            assert await session.scalar(select(func.max(AuditEntry.chain_number))) == 6

    async def test_one_turn_is_bounded(self, own_database: Database) -> None:
        await write(own_database, service.LINKS_PER_TURN_MAX + 1)
        assert await chain(own_database) == service.LINKS_PER_TURN_MAX
        assert await chain(own_database) == 1
        assert await verify(own_database) is None

    @pytest.mark.parametrize(
        "changed",
        [
            {"actor_id": "somebody else"},
            {"after": {"n": 5}},
            {"action": "thing.deleted"},
            {"correlation_id": "other"},
            {"organization_id": None},
            {"at": datetime(2026, 5, 1, 12, 0, 0, 1, tzinfo=UTC)},
        ],
    )
    async def test_a_changed_row_shows(
        self, own_database: Database, changed: dict[str, Any]
    ) -> None:
        await write(own_database, 5)
        await chain(own_database)
        async with own_database.transaction() as session:
            third = update(AuditEntry).where(AuditEntry.chain_number == 3)
            await session.execute(third.values(**changed))
        assert await verify(own_database) == 3

    async def test_a_missing_row_shows(self, own_database: Database) -> None:
        await write(own_database, 5)
        await chain(own_database)
        async with own_database.transaction() as session:
            await session.execute(delete(AuditEntry).where(AuditEntry.chain_number == 2))
        assert await verify(own_database) == 2


def test_the_running_station_chains_by_itself(client: StationClient, rows: Rows) -> None:
    device = client.register_device()
    (row,) = audited(rows, device.id)
    assert row["chain_number"] is None or len(row["chain_hash"]) == 64
