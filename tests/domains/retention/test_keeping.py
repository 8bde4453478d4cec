"""What a node knows of the rules, and how soon."""

from datetime import timedelta
from pathlib import Path

import pytest

from fieldstation.core.clock import instant_to_us
from fieldstation.domains.identity.service import organizations
from fieldstation.domains.retention.keeping import MEMBERS_INTERVAL_S, Keeping
from fieldstation.domains.telemetry.kept import ALL_US
from tests.contracts.reading_databases import START
from tests.contracts.readings import DAY_US
from tests.domains.retention.conftest import GRACE_S, Field, put

pytestmark = pytest.mark.anyio

TODAY_US = instant_to_us(START) // DAY_US * DAY_US


def days_kept(keeping: Keeping, organization_id: str, device_id: str = "d", of: str = "t") -> float:
    """Return how many days before today a node takes readings from; infinity: from all."""
    from_us = keeping.raw_from_us(organization_id, device_id, of)
    return float("inf") if from_us == ALL_US else (TODAY_US - from_us) / DAY_US


async def test_rules_reach_every_node_and_hold_an_hour_later(field: Field, tmp_path: Path) -> None:
    node, other = field.open(tmp_path), field.open(tmp_path)
    ours, theirs = await field.organization("ours"), await field.organization("theirs")
    await other.keeping.look()

    plan = await put(node, ours, {"raw_days": 3, "rollup_days": 30})
    await other.keeping.look()

    assert plan.applies_at == START + timedelta(hours=1)
    field.clock.advance(3_599.9)
    assert days_kept(other.keeping, ours.organization_id) == float("inf")
    version = other.keeping.version
    field.clock.advance(0.2)
    await other.keeping.look()
    assert other.keeping.version > version
    assert days_kept(other.keeping, ours.organization_id) == 3
    assert days_kept(other.keeping, theirs.organization_id) == float("inf")


async def test_nothing_is_asked_for_again_while_nothing_changed(
    field: Field, tmp_path: Path
) -> None:
    node, ours = field.open(tmp_path), await field.organization("ours")
    await put(node, ours, {"raw_days": 3})
    field.clock.advance(GRACE_S)
    await node.keeping.look()
    version, policy = node.keeping.version, node.keeping.in_force(ours.organization_id)

    for _ in range(5):
        field.clock.advance(MEMBERS_INTERVAL_S)
        await node.keeping.look()
    await put(node, ours, {"raw_days": 3})
    await node.keeping.look()

    assert node.keeping.version == version
    assert node.keeping.in_force(ours.organization_id) is policy is not None


async def test_a_new_day_moves_the_instant_on(field: Field, tmp_path: Path) -> None:
    node, ours = field.open(tmp_path), await field.organization("ours")
    await put(node, ours, {"raw_days": 3})
    field.clock.advance(GRACE_S)
    await node.keeping.look()
    version = node.keeping.version

    field.clock.advance(86_400)
    await node.keeping.look()

    assert node.keeping.version == version + 1
    assert days_kept(node.keeping, ours.organization_id) == 2


async def test_who_is_in_a_group_is_known_within_a_minute(field: Field, tmp_path: Path) -> None:
    node, ours = field.open(tmp_path), await field.organization("ours")
    device = await field.device(ours)
    lab = await field.group(ours, "lab", "lab")
    await put(node, ours, {"raw_days": 3, "group_id": lab})
    field.clock.advance(GRACE_S)
    await node.keeping.look()
    assert days_kept(node.keeping, ours.organization_id, device) == float("inf")

    await field.tag(ours, device, "lab")
    field.clock.advance(MEMBERS_INTERVAL_S)
    await node.keeping.look()

    assert days_kept(node.keeping, ours.organization_id, device) == 3
    assert days_kept(node.keeping, ours.organization_id, "other") == float("inf")


async def test_the_stations_default_holds_where_no_rule_does(field: Field, tmp_path: Path) -> None:
    node = field.open(tmp_path, RETENTION_RAW_DAYS="9", RETENTION_ROLLUP_DAYS="90")
    ours, theirs = await field.organization("ours"), await field.organization("theirs")
    await put(node, ours, {"raw_days": 3, "sensor_type": "t"}, {"sensor_type": "u"})
    field.clock.advance(GRACE_S)
    await node.keeping.look()

    own = ours.organization_id
    assert [days_kept(node.keeping, own, of=name) for name in "tux"] == [3, float("inf"), 9]
    assert days_kept(node.keeping, theirs.organization_id) == 9
    assert (await node.desk.read(theirs)).default.model_dump() == {
        "raw_days": 9,
        "rollup_days": 90,
    }


async def test_an_organization_that_is_gone_is_forgotten(field: Field, tmp_path: Path) -> None:
    node, ours = field.open(tmp_path), await field.organization("ours")
    await put(node, ours, {"raw_days": 3})
    await node.keeping.look()
    assert node.keeping.organizations() == [ours.organization_id]

    async with field.database.transaction() as session:
        await organizations.delete_organization(session, ours, now=field.clock.now())
    await node.keeping.look()

    assert node.keeping.organizations() == []
