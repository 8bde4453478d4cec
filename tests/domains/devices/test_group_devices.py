"""Which devices are in a group, asked in statements or of all groups at once: the same on every
database, in as many statements whatever there is."""

import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Column, Engine, ForeignKey, MetaData, Table, event, insert
from sqlalchemy.schema import CreateTable, DropTable

from fieldstation.core.errors import Conflict, Invalid, NotFound
from fieldstation.core.ids import new_id
from fieldstation.db.database import Database, Session
from fieldstation.domains.audit.schemas import STATION
from fieldstation.domains.devices.models import Device, DeviceGroup, DeviceTag
from fieldstation.domains.devices.schemas.groups import (
    MEMBERS_MAX,
    DeviceGroupCreate,
    DeviceGroupUpdate,
)
from fieldstation.domains.devices.service import devices, groups
from fieldstation.domains.devices.tag_expressions import parse_expression
from fieldstation.domains.identity.schemas import Caller
from fieldstation.domains.identity.service import organizations
from tests.domains.devices.test_tag_expressions import holds

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
TAGS = "abcdef"
MISSING = "0198c0de-7a3b-7c11-9b51-3f5a6f2f6a99"
RULES = Table("rule_of_test", MetaData(), Column("group_id", ForeignKey(DeviceGroup.id)))
"""What another domain has for groups."""


async def make_organization(database: Database, name: str) -> Caller:
    async with database.transaction() as session:
        made = await organizations.add_organization(
            session, name=name, owner_id=None, actor=STATION, now=NOW
        )
        return Caller(
            organization_id=made.id,
            user_id=None,
            device_id=None,
            scopes=frozenset({"devices:write"}),
            superuser=False,
            subjects=frozenset(),
            expires_at=None,
            actor=STATION,
        )


async def add_devices(database: Database, caller: Caller, tags: list[list[str]]) -> list[str]:
    """Add a device for each list of tags; return their ids."""
    ids = [new_id() for _ in tags]
    plain: dict[str, Any] = {
        "organization_id": caller.organization_id,
        "name": "pump",
        "device_type": "generic",
        "properties": {},
        "heartbeat_interval_s": 30,
        "created_at": NOW,
        "updated_at": NOW,
    }
    async with database.transaction() as session:
        await session.execute(insert(Device), [{**plain, "id": device_id} for device_id in ids])
        rows = [
            {"device_id": device_id, "tag": tag}
            for device_id, own in zip(ids, tags, strict=True)
            for tag in own
        ]
        if rows:
            await session.execute(insert(DeviceTag), rows)
    return ids


async def make_group(database: Database, caller: Caller, name: str, **form: Any) -> str:
    async with database.transaction() as session:
        made = await groups.create_group(
            session, caller, DeviceGroupCreate(name=name, **form), now=NOW
        )
    return made.id


@contextmanager
def questions() -> Iterator[list[str]]:
    """Gather what databases are asked meanwhile."""
    asked: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.lstrip().startswith("SELECT"):
            asked.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def random_expression(chance: random.Random, depth: int = 3) -> str:
    kind = chance.choice(["tag", "not", "and", "or"]) if depth else "tag"
    if kind == "tag":
        return chance.choice(TAGS + "z")
    inner = [random_expression(chance, depth - 1) for _ in range(1 if kind == "not" else 2)]
    return f"NOT ({inner[0]})" if kind == "not" else f"({f' {kind} '.join(inner)})"


async def test_statements_and_sets_of_devices_say_what_expressions_do(
    own_database: Database,
) -> None:
    chance = random.Random(4)  # noqa: S311 - no secret
    ours, theirs = [await make_organization(own_database, name) for name in ("Ours", "Theirs")]
    tags = [chance.sample(TAGS, chance.randrange(5)) for _ in range(60)]
    ids = await add_devices(own_database, ours, tags)
    await add_devices(own_database, theirs, tags)
    expected: dict[str, set[str]] = {}
    for number in range(40):
        expression = random_expression(chance)
        found = {
            device_id
            for device_id, own in zip(ids, tags, strict=True)
            if holds(parse_expression(expression), own)
        }
        expected[await make_group(own_database, ours, f"e{number}", tag_expression=expression)] = (
            found
        )
        listed = chance.sample(ids, number)
        expected[await make_group(own_database, ours, f"l{number}", device_ids=listed)] = set(
            listed
        )
    await make_group(own_database, theirs, "all", tag_expression="a or not a")

    async with own_database.reading() as session:
        alone = {
            group_id: await groups.group_device_ids(session, ours.organization_id, group_id)
            for group_id in expected
        }
        assert alone == expected
        assert await groups.device_ids_by_group(session, ours.organization_id) == expected
        for group_id, found in expected.items():
            shown = await groups.get_group(session, ours.organization_id, group_id)
            assert shown.member_count == len(found)
    assert len({len(found) for found in expected.values()}) > 20


async def test_all_groups_are_asked_for_in_as_many_statements_as_a_few(
    own_database: Database,
) -> None:
    caller = await make_organization(own_database, "Ours")
    ids = await add_devices(own_database, caller, [["a"], ["b"], []])
    sent: list[int] = []
    for number in range(6):
        await make_group(own_database, caller, f"e{number}", tag_expression="a or not b")
        await make_group(own_database, caller, f"l{number}", device_ids=ids)
        async with own_database.reading() as session:
            with questions() as asked:
                await groups.device_ids_by_group(session, caller.organization_id)
        sent.append(len(asked))
    assert sent == [4] * 6


async def test_sets_of_groups_that_name_one_tag_are_not_the_same_object(
    own_database: Database,
) -> None:
    caller = await make_organization(own_database, "Ours")
    await add_devices(own_database, caller, [["a"]])
    one, two = [
        await make_group(own_database, caller, name, tag_expression="a") for name in ("1", "2")
    ]
    async with own_database.reading() as session:
        found = await groups.device_ids_by_group(session, caller.organization_id)
    found[one].clear()
    assert len(found[two]) == 1


async def test_a_group_of_another_organization_is_none(own_database: Database) -> None:
    ours, theirs = [await make_organization(own_database, name) for name in ("Ours", "Theirs")]
    foreign = await make_group(own_database, theirs, "a", tag_expression="not a")
    async with own_database.reading() as session:
        for group_id in (foreign, MISSING):
            with pytest.raises(NotFound):
                await groups.group_device_ids(session, ours.organization_id, group_id)
        assert await groups.device_ids_by_group(session, ours.organization_id) == {}


async def test_a_list_may_be_filled_to_its_end_and_no_further(own_database: Database) -> None:
    caller = await make_organization(own_database, "Ours")
    ids = await add_devices(own_database, caller, [[] for _ in range(MEMBERS_MAX + 1)])
    full = await make_group(own_database, caller, "full", device_ids=ids[:-1])
    async with own_database.transaction() as session:
        with pytest.raises(Conflict, match="tag them"):
            await groups.add_member(session, caller, full, ids[-1], now=NOW)
        await groups.add_member(session, caller, full, ids[0], now=NOW)
    async with own_database.transaction() as session:
        form = DeviceGroupUpdate(device_ids=ids[1:])
        changed = await groups.update_group(session, caller, full, form, now=NOW)
    assert changed.member_count == MEMBERS_MAX
    async with own_database.reading() as session:
        found = await groups.group_device_ids(session, caller.organization_id, full)
    assert found == set(ids[1:])


async def test_what_a_body_names_and_is_not_there_is_counted(own_database: Database) -> None:
    caller = await make_organization(own_database, "Ours")
    unknown = [f"unknown-{number:03d}" for number in range(100)]
    with pytest.raises(Invalid, match="no device unknown-000, nor 99 others") as refused:
        await make_group(own_database, caller, "x", device_ids=unknown)
    assert len(refused.value.errors) == 20


@asynccontextmanager
async def rules(database: Database) -> AsyncIterator[None]:
    async with database.transaction() as session:
        await session.execute(CreateTable(RULES))
    try:
        yield
    finally:
        async with database.transaction() as session:
            await session.execute(DropTable(RULES))


async def test_a_group_that_something_is_for_stays(own_database: Database) -> None:
    caller = await make_organization(own_database, "Ours")
    ids = await add_devices(own_database, caller, [[]])
    used = await make_group(own_database, caller, "used", device_ids=ids)

    async def delete(session: Session) -> None:
        await groups.delete_group(session, caller, used, now=NOW)

    async with rules(own_database):
        async with own_database.transaction() as session:
            await session.execute(insert(RULES).values(group_id=used))
        with pytest.raises(Conflict) as refused:
            async with own_database.transaction() as session:
                await delete(session)
        assert refused.value.code == "group_in_use"
        async with own_database.reading() as session:
            found = await groups.group_device_ids(session, caller.organization_id, used)
        assert found == set(ids)
        async with own_database.transaction() as session:
            await session.execute(RULES.delete())
            await delete(session)
    async with own_database.reading() as session:
        assert await groups.device_ids_by_group(session, caller.organization_id) == {}
        assert await devices.count_devices(session, caller.organization_id) == 1
