"""Rules through the door of a real station: what they refuse, what they say, who hears of it."""

from typing import Any

import pytest

from fieldstation.domains.retention.schemas import DAYS_MAX, RULES_MAX
from tests.clients import StationClient, expect
from tests.domains.conftest import Rows

PATH = "/api/v1/data/retention"
RULES = [
    {"sensor_type": "temperature", "raw_days": 30, "rollup_days": 365},
    {"raw_days": 7, "rollup_days": None},
]


@pytest.fixture
def ours(owner: StationClient) -> StationClient:
    """The shared owner, whose list is empty again."""
    put(owner, [])
    return owner


def put(
    client: StationClient, rules: list[dict[str, Any]], *, status: int = 200, **how: Any
) -> Any:
    query = {name: how.pop(name) for name in ("dry_run",) if name in how}
    return expect(client.http.put(PATH, json={"rules": rules}, params=query, **how), status)


def lab(client: StationClient, name: str) -> str:
    form = {"name": name, "tag_expression": "lab"}
    return expect(client.http.post("/api/v1/device-groups", json=form), 201)["id"]


def test_a_list_comes_back_as_it_was_sent(ours: StationClient) -> None:
    made = put(ours, RULES)
    found = ours.get(PATH)
    everything = {"sensor_type": None, "group_id": None}
    assert found["rules"] == made["rules"] == [{**everything, **rule} for rule in RULES]
    assert found["applies_at"] == made["applies_at"] > found["forecast"]["measured_at"]
    assert found["default"] == {"raw_days": None, "rollup_days": None}
    assert (made["dry_run"], made["removes"]["readings"]) == (False, 0)


def test_a_dry_run_changes_nothing_and_shows_what_would(ours: StationClient) -> None:
    before = ours.http.get(PATH)
    answer = put(ours, RULES, dry_run=True)
    after = ours.http.get(PATH)
    assert answer["dry_run"]
    assert len(answer["rules"]) == 2
    assert (after.json()["rules"], after.headers["etag"]) == ([], before.headers["etag"])


def test_the_same_list_again_is_no_change(ours: StationClient) -> None:
    first = put(ours, RULES)
    assert put(ours, RULES)["applies_at"] == first["applies_at"]


def test_types_are_kept_as_readings_have_them(ours: StationClient) -> None:
    (rule,) = put(ours, [{"sensor_type": " Temperature ", "raw_days": 1}])["rules"]
    assert rule["sensor_type"] == "temperature"


def test_nobody_overwrites_what_they_have_not_seen(ours: StationClient) -> None:
    seen = ours.http.get(PATH).headers["etag"]
    changed = ours.http.put(PATH, json={"rules": RULES}, headers={"If-Match": seen})
    assert changed.headers["etag"] == ours.http.get(PATH).headers["etag"] != seen
    put(ours, [], status=412, headers={"If-Match": seen})
    put(ours, [], status=412, headers={"If-Match": seen}, dry_run=True)
    assert len(ours.get(PATH)["rules"]) == 2


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ([{"raw_days": 30, "rollup_days": 7}], "at least raw_days"),
        ([{"rollup_days": 7}], "at least raw_days"),
        ([{"raw_days": 0}], "greater than or equal to 1"),
        ([{"raw_days": DAYS_MAX + 1}], "less than or equal to"),
        ([{"raw_days": 1.5}], "integer"),
        ([{"days": 1}], "Extra inputs"),
        ([{"sensor_type": "  ", "raw_days": 1}], "1 to 50 characters"),
        ([{"sensor_type": "t" * 51, "raw_days": 1}], "1 to 50 characters"),
        ([{"sensor_type": f"t{n}", "raw_days": 1} for n in range(RULES_MAX + 1)], "at most 100"),
        ([{"raw_days": 1}, {"sensor_type": "t"}, {}], "numbers 0 and 2"),
        ([{"sensor_type": "t"}, {"sensor_type": "T "}], "type t"),
        ([{"group_id": "0198c0de-7a3b-7c11-9b51-3f5a6f2f6a50"}], "number 0 names a device group"),
    ],
)
def test_a_list_that_makes_no_sense_is_refused_with_what_is_wrong(
    ours: StationClient, rules: list[dict[str, Any]], said: str
) -> None:
    body = put(ours, rules, status=422)
    assert said in body["detail"], body["detail"]
    assert body["errors"][0]["loc"][:2] == ["body", "rules"]
    assert ours.get(PATH)["rules"] == []


def test_as_many_rules_as_there_may_be(ours: StationClient) -> None:
    rules = [{"sensor_type": f"t{number}", "raw_days": 1} for number in range(RULES_MAX)]
    assert len(put(ours, rules)["rules"]) == RULES_MAX


def test_a_foreign_group_is_as_unknown_as_none(
    ours: StationClient, other_owner: StationClient
) -> None:
    theirs = lab(other_owner, "retention theirs")
    body = put(ours, [{"group_id": theirs, "raw_days": 1}], status=422)
    assert (body["error"], body["errors"][0]["loc"][-1]) == ("unknown_reference", "group_id")


def test_a_group_that_a_rule_names_stays(ours: StationClient) -> None:
    group = lab(ours, "retention ours")
    put(ours, [{"group_id": group, "raw_days": 1}])
    assert ours.http.delete(f"/api/v1/device-groups/{group}").status_code == 409
    put(ours, [])
    assert ours.http.delete(f"/api/v1/device-groups/{group}").status_code == 204


def test_a_change_is_on_record_and_a_dry_run_is_not(ours: StationClient, rows: Rows) -> None:
    me = ours.get("/api/v1/users/me")

    def recorded() -> list[dict[str, Any]]:
        found = rows("SELECT action, actor_id FROM audit_entry WHERE entity_kind = 'retention'")
        return [row for row in found if row["actor_id"] == me["id"]]

    before = len(recorded())
    put(ours, RULES, dry_run=True)
    put(ours, RULES)
    put(ours, RULES)
    assert len(recorded()) == before + 1
    assert recorded()[-1]["action"] == "retention.replaced"


def test_others_see_nothing_of_it(ours: StationClient, other_owner: StationClient) -> None:
    put(ours, RULES)
    ours.send(ours.register_device(), [{"sensor_type": "t", "value": n} for n in range(50)])
    theirs = other_owner.get(PATH)
    assert theirs["rules"] == []
    assert theirs["forecast"]["readings"] == 0
    assert theirs["forecast"]["disk"] is None
