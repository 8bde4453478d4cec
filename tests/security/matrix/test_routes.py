"""Every route times every caller: who may is answered, who may not is told the same as everybody.

A route without a line in ``rules`` fails.
"""

from collections.abc import Iterator
from itertools import combinations
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from fastapi.routing import APIRoute, APIWebSocketRoute

from fieldstation.main import ROUTERS
from fieldstation.web.aliases import ALIASES
from tests.security.matrix.rules import ROUTES, SOCKETS, Rule
from tests.security.matrix.world import ROLES, Caller, World, masked

MAY, NO_TOKEN, NO_SCOPE, NO_OBJECT = "may", 401, 403, 404
WHOEVER = ("anybody", "caller", "person", "session", "device", "superuser")


def mounted() -> Iterator[str]:
    """Yield every route of the application."""
    for router in ROUTERS:
        for route in router.routes:
            if isinstance(route, APIRoute):
                path = as_ruled(route.path)
                yield from (f"{method} {path}" for method in sorted(route.methods or ()))
            else:
                assert isinstance(route, APIWebSocketRoute), route
                yield route.path


def as_ruled(path: str) -> str:
    """Tell a user's own key from a device's: the paths call both by one name."""
    return path.replace("/api-keys/{key_id}", "/api-keys/{own_key_id}")


def test_every_route_has_its_line() -> None:
    assert sorted(mounted()) == sorted([*ROUTES, *SOCKETS])


def test_the_document_asks_for_the_scopes_that_refusals_name(world: World) -> None:
    paths: dict[str, Any] = world.http.get("/openapi.json").json()["paths"]
    documented = {
        f"{method.upper()} {as_ruled(path)}": operation["x-required-scope"]
        for path, item in paths.items()
        for method, operation in item.items()
    }
    expected: dict[str, list[str] | None] = {}
    for route in documented:
        rule = ROUTES[route]
        scopes = [name for name in (rule.scope, rule.documented) if name]
        if rule.devices and "device" not in scopes:
            scopes.append("device")
        expected[route] = None if rule.who == "anybody" else scopes
    assert documented == expected


def verdict(rule: Rule, caller: Caller, route: str) -> str | int:
    """Say what the rule makes of a caller who asks for what is ours."""
    if rule.who == "anybody":
        return MAY
    if caller.kind == "nobody":
        return NO_TOKEN
    if not caller.ours and (
        "{organization_id}" in route or ("_id}" in route and is_let_in(rule, caller))
    ):
        return NO_OBJECT
    if not is_let_in(rule, caller):
        return NO_SCOPE
    is_other = caller.kind == "device" and caller.name != "device"
    return NO_OBJECT if is_other and "{device_id}" in route else MAY


def is_let_in(rule: Rule, caller: Caller) -> bool:
    """Whether a caller may use the route at all, on some object."""
    if caller.kind == "nobody":
        return rule.who == "anybody"
    if caller.kind == "device":
        return rule.devices or rule.who in {"caller", "device"}
    if caller.kind == "key":
        return rule.who in {"caller", "person"} or rule.scope in caller.scopes - {"device"}
    if caller.kind == "superuser":
        return rule.who == "superuser"
    if rule.who in WHOEVER:
        return rule.who in {"caller", "person", "session"}
    return ROLES.index(caller.role) >= ROLES.index(rule.who)


def askers(world: World, rule: Rule) -> list[Caller]:
    """Return the callers of a route, with keys that hold just its scope and just another."""
    lacking = "devices:read" if rule.scope == "org:read" else "org:read"
    keys = [world.key_with(lacking)]
    if rule.scope and rule.who in ROLES:
        keys.append(world.key_with(*sorted({rule.scope, rule.documented} - {""})))
    named = [caller for caller in world.callers.values() if caller.kind != "key"]
    if rule.who != "superuser":
        named = [caller for caller in named if caller.kind != "superuser"]
    return named + keys


def check(rule: Rule, caller: Caller, answer: httpx2.Response, expected: str | int) -> None:
    said = f"{caller.name}: {answer.status_code} {answer.text[:300]}"
    if expected == MAY:
        assert answer.status_code < 300 or answer.status_code == 409, said
        return
    assert answer.status_code == expected, said
    challenge = answer.headers.get("www-authenticate", "")
    if expected == NO_TOKEN:
        assert challenge == "Bearer", said
    elif expected == NO_SCOPE and answer.json()["error"] != "session_required":
        assert challenge in {
            f'Bearer error="insufficient_scope", scope="{scope}"'
            for scope in (rule.scope, rule.documented)
        }, said


@pytest.mark.parametrize("route", ROUTES)
def test_a_route_answers_those_who_may_and_nobody_else(world: World, route: str) -> None:
    rule = ROUTES[route]
    for caller in askers(world, rule):
        expected = verdict(rule, caller, route)
        asking, ids = caller, world.ours.ids
        if expected == MAY and rule.spends:
            asking, ids = world.fresh(rule.spends, caller)
        body = rule.body(world) if rule.body else None
        answer = world.ask(asking, route, ids, body=body)
        check(rule, caller, answer, expected)
        if not caller.ours:
            shown = answer.text + str(answer.headers)
            leaked = {secret for secret in world.ours.secrets() if secret in shown}
            assert leaked <= set(str(answer.request.url).split("/")), caller.name
    assert_untouched(world)


def assert_untouched(world: World) -> None:
    """Return if what was not handed out for use is still as it was."""
    ours, owner = world.ours, world.ours.owner
    assert owner.get(f"/api/v1/devices/{ours.device.id}")["id"] == ours.device.id
    assert owner.get(f"/api/v1/users/{ours.ids['user_id']}")["email"] == ours.spare
    assert owner.get(f"/api/v1/device-groups/{ours.ids['group_id']}")["member_count"] == 1


def foreign_and_missing(
    names: list[str], own: dict[str, str], foreign: dict[str, str]
) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """Yield ids of which some are another organization's, and the same with missing ones."""
    for count in range(1, len(names) + 1):
        for chosen in combinations(names, count):
            yield (
                {**own, **{name: foreign[name] for name in chosen}},
                {**own, **{name: str(uuid4()) for name in chosen}},
            )


@pytest.mark.parametrize("route", [route for route in ROUTES if "_id}" in route])
def test_a_foreign_id_is_a_missing_id(world: World, route: str) -> None:
    rule = ROUTES[route]
    names = [name for name in world.ours.ids if f"{{{name}}}" in route]
    asking = askers(world, rule)  # which makes keys that were not asked for before
    before = {caller.name: snapshot(world, caller) for caller in owners(world)}
    for caller in asking:
        own, foreign = world.ours.ids, world.theirs.ids
        if not caller.ours:
            own, foreign = foreign, own
        for theirs, nobodys in foreign_and_missing(names, own, foreign):
            body = rule.body(world) if rule.body else None
            answer = world.ask(caller, route, theirs, body=body)
            missing = world.ask(caller, route, nobodys, body=body)
            assert masked(answer) == masked(missing), caller.name
            refusals = {404} if is_let_in(rule, caller) else {401, 403, 404}
            assert answer.status_code in refusals, caller.name
    assert before == {caller.name: snapshot(world, caller) for caller in owners(world)}


def owners(world: World) -> list[Caller]:
    return [world.callers["owner"], world.callers["stranger"]]


def snapshot(world: World, owner: Caller) -> dict[str, Any]:
    """Return what an organization holds."""
    tenant = world.ours if owner.ours else world.theirs
    device, here = f"/api/v1/devices/{tenant.device.id}", tenant.ids["organization_id"]
    group = f"/api/v1/device-groups/{tenant.ids['group_id']}"
    paths = [
        *("/api/v1/device-groups?limit=200", group, f"{group}/devices"),
        *("/api/v1/devices?limit=200", "/api/v1/users?limit=200", "/api/v1/auth/api-keys"),
        *(
            f"{device}/keys",
            f"{device}/readings",
            f"/api/v1/organizations/{here}/members?limit=200",
        ),
        f"/api/v1/organizations/{here}",
    ]
    found = {path: world.ask(owner, f"GET {path}", {}).json() for path in paths}
    for person in found["/api/v1/users?limit=200"]["items"]:
        person.pop("last_login_at")
    for path in ("/api/v1/devices?limit=200", f"{group}/devices"):
        for thing in found[path]["items"]:
            thing.pop("last_seen_at")
    for key in (*found[f"{device}/keys"]["items"], *found["/api/v1/auth/api-keys"]["items"]):
        key.pop("last_used_at")
    return found


@pytest.mark.parametrize(
    "route",
    [
        route
        for route, rule in ROUTES.items()
        if rule.scope and rule.who != "superuser" and "{organization_id}" not in route
    ],
)
def test_naming_a_foreign_organization_is_naming_a_missing_one(world: World, route: str) -> None:
    rule = ROUTES[route]
    body = rule.body(world) if rule.body else None
    for caller in (*owners(world), world.callers["device"]):
        foreign = world.theirs if caller.ours else world.ours
        answers = [
            world.ask(caller, route, world.ours.ids, body=body, headers={"X-Organization": named})
            for named in (foreign.ids["organization_id"], str(uuid4()))
        ]
        assert answers[0].status_code == 404, caller.name
        assert masked(answers[0]) == masked(answers[1])


@pytest.mark.parametrize("alias", ALIASES)
def test_an_alias_is_as_strict_as_its_route(world: World, alias: str) -> None:
    for caller in world.callers.values():
        for method in ("GET", "POST"):
            answers = [
                world.ask(caller, f"{method} {path}", {}) for path in (alias, ALIASES[alias])
            ]
            assert answers[0].status_code == answers[1].status_code, caller.name


def test_a_body_that_names_somebody_unknown_is_told_so(world: World) -> None:
    """api.md, 0: an id inside a body that leads nowhere is 422."""
    route = "POST /api/v1/organizations/{organization_id}/members"
    body = {"user_id": str(uuid4()), "role": "viewer"}
    answer = world.ask(world.callers["owner"], route, world.ours.ids, body=body)
    assert (answer.status_code, answer.json()["error"]) == (422, "unknown_reference")
