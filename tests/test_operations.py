"""What the command line has done for it, in this process and without a station."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fieldstation.core.errors import Conflict, Invalid, NotFound, StationError
from fieldstation.core.settings import read_settings
from fieldstation.db.engines import station_url, telemetry_url
from fieldstation.migrations.upgrade import upgrade
from fieldstation.operations import FIRST_ORGANIZATION, station_operations
from fieldstation.runtime import Runtime

pytestmark = pytest.mark.anyio


class Station:
    """A runtime that does not run, and its operations."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.operations = station_operations(runtime)

    async def do(self, name: str, **arguments: Any) -> Any:
        return await self.operations[name](**arguments)


@pytest.fixture
async def station(tmp_path: Path) -> AsyncIterator[Station]:
    runtime = Runtime(read_settings({"DATA_DIR": str(tmp_path / "data"), "ENABLE_MQTT": "false"}))
    await upgrade(station_url(runtime.settings), "station")
    await upgrade(telemetry_url(runtime.settings), "telemetry")
    yield Station(runtime)
    await runtime.database.close()


async def test_a_user_is_created_in_the_first_organization(station: Station) -> None:
    one = await station.do("user.create", email="Ada@lab.example.org", username="ada")
    two = await station.do("user.create", email="bob@lab.example.org", role="viewer")
    assert len(one["password"]) >= 12
    assert one["password"] != two["password"]
    listed = await station.do("user.list")
    assert [user["id"] for user in listed] == [one["id"], two["id"]]
    assert await station.do("user.list", after_id=one["id"]) == listed[1:]
    assert await station.do("user.list", after_id=two["id"]) == []
    assert FIRST_ORGANIZATION == "Station"


async def test_a_given_password_is_kept_and_judged(station: Station) -> None:
    made = await station.do(
        "user.create", email="ada@lab.example.org", password="ein Fahrrad im Regen 7"
    )
    assert made["password"] == "ein Fahrrad im Regen 7"
    with pytest.raises(Invalid):
        await station.do("user.create", email="bob@lab.example.org", password="short")
    assert len(await station.do("user.list")) == 1


async def test_a_second_user_of_the_same_name_is_refused(station: Station) -> None:
    await station.do("user.create", email="ada@lab.example.org")
    with pytest.raises(Conflict):
        await station.do("user.create", email="ADA@lab.example.org")


@pytest.mark.parametrize("arguments", [{"role": "emperor"}, {"email": "no address"}])
async def test_what_makes_no_sense_is_a_sentence(
    station: Station, arguments: dict[str, str]
) -> None:
    with pytest.raises(StationError):
        await station.do("user.create", **{"email": "ada@lab.example.org", **arguments})
    assert await station.do("user.list") == []


async def test_a_new_password_replaces_the_old_one(station: Station) -> None:
    made = await station.do("user.create", email="ada@lab.example.org", username="ada")
    changed = await station.do("user.set_password", login="ada")
    assert changed["password"] != made["password"]
    with pytest.raises(NotFound):
        await station.do("user.set_password", login="nobody")
