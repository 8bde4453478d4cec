"""Decides about rules: whether a list can be kept, and what is stored of it."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from fieldstation.db.database import Session
from fieldstation.domains.audit.schemas import Change
from fieldstation.domains.audit.service import record
from fieldstation.domains.devices.service import groups
from fieldstation.domains.identity.schemas.callers import Caller
from fieldstation.domains.retention import errors, queries
from fieldstation.domains.retention.models import RetentionPolicy, RetentionRule
from fieldstation.domains.retention.policies import Kept, Policy, Rule
from fieldstation.domains.retention.schemas import (
    KeptDays,
    RetentionRuleForm,
    RetentionRuleRead,
    RetentionState,
)

DELAY = timedelta(hours=1)
"""Until a list is in force: time to notice a mistake."""


async def load_policies(
    session: Session, known: Mapping[str, Policy], *, default: Kept
) -> dict[str, Policy]:
    """Return every organization's policy; those that are known and have not changed as they are."""
    heads = await queries.policies(session)
    found: dict[str, Policy] = {}
    changed: list[RetentionPolicy] = []
    for head in heads:
        policy = known.get(head.organization_id)
        if policy is not None and policy.version == head.version:
            found[head.organization_id] = policy
        else:
            changed.append(head)
    return found | await with_rules(session, changed, default=default)


async def load_policy(session: Session, organization_id: str, *, default: Kept) -> Policy:
    """Return an organization's policy; one without rules if it never had any."""
    head = await queries.policy(session, organization_id)
    if head is None:
        return Policy(0, None, (), {}, default)
    return (await with_rules(session, [head], default=default))[organization_id]


async def with_rules(
    session: Session, heads: Sequence[RetentionPolicy], *, default: Kept
) -> dict[str, Policy]:
    rows = await queries.rules(session, [head.organization_id for head in heads]) if heads else []
    rules = {
        organization_id: tuple(map(stored_rule, listed))
        for organization_id, listed in groupby(rows, key=lambda row: row.organization_id)
    }
    found: dict[str, Policy] = {}
    for head in heads:
        own = rules.get(head.organization_id, ())
        members = await members_of(session, head.organization_id, own)
        found[head.organization_id] = Policy(head.version, head.applies_at, own, members, default)
    return found


async def members_of(
    session: Session, organization_id: str, rules: Collection[Rule]
) -> Mapping[str, Collection[str]]:
    """Return the devices of the groups that rules name; a group that is gone has none."""
    named = {rule.group_id for rule in rules if rule.group_id is not None}
    if not named:
        return {}
    every = await groups.device_ids_by_group(session, organization_id)
    return {group_id: every[group_id] for group_id in sorted(named) if group_id in every}


async def planned(
    session: Session,
    current: Policy,
    organization_id: str,
    forms: Sequence[RetentionRuleForm],
    *,
    now: datetime,
) -> Policy:
    """Return the policy that a list would make; the current one if that has the same rules.

    Raises ``Invalid`` for a rule that is given twice, or for a group that is not there.
    """
    rules = tuple(
        Rule(form.sensor_type, form.group_id, Kept(form.raw_days, form.rollup_days))
        for form in forms
    )
    check_targets(rules)
    members = await members_of(session, organization_id, rules)
    for number, rule in enumerate(rules):
        if rule.group_id is not None and rule.group_id not in members:
            raise errors.unknown_group(number, rule.group_id)
    if rules == current.rules:
        return current
    return Policy(current.version + 1, now + DELAY, rules, members, current.default)


def check_targets(rules: Sequence[Rule]) -> None:
    seen: dict[tuple[str | None, str | None], int] = {}
    for number, rule in enumerate(rules):
        first = seen.setdefault((rule.group_id, rule.sensor_type), number)
        if first != number:
            raise errors.duplicate_rule(first, number, sensor_type=rule.sensor_type)


async def store(session: Session, caller: Caller, policy: Policy, *, now: datetime) -> None:
    """Keep a policy in place of the one that stands, unless it is that one.

    Raises ``Conflict`` for a group that was deleted a moment ago.
    """
    organization_id = caller.organization_id
    head = await queries.policy(session, organization_id)
    if policy.version == (0 if head is None else head.version):
        return
    before = await queries.rules(session, [organization_id])
    if head is None:
        head = RetentionPolicy(organization_id=organization_id)
    head.version = policy.version
    head.applies_at = policy.applies_at or now
    rows = [
        RetentionRule(
            organization_id=organization_id,
            number=number,
            sensor_type=rule.sensor_type,
            group_id=rule.group_id,
            raw_days=rule.kept.raw_days,
            rollup_days=rule.kept.rollup_days,
        )
        for number, rule in enumerate(policy.rules)
    ]
    change = Change(
        "retention.replaced",
        "retention",
        organization_id,
        before={"rules": [flat(stored_rule(row)) for row in before]},
        after={"rules": [flat(rule) for rule in policy.rules]},
    )
    await queries.replace(session, head, rows)
    record(session, change, actor=caller.actor, organization_id=organization_id, now=now)


def stored_rule(row: RetentionRule) -> Rule:
    return Rule(row.sensor_type, row.group_id, Kept(row.raw_days, row.rollup_days))


def flat(rule: Rule) -> dict[str, Any]:
    return {"sensor_type": rule.sensor_type, "group_id": rule.group_id, **rule.kept._asdict()}


def shown(policy: Policy) -> RetentionState:
    """Return a policy as its organization sees it."""
    return RetentionState(
        rules=[RetentionRuleRead.model_validate(flat(rule)) for rule in policy.rules],
        default=KeptDays.model_validate(policy.default._asdict()),
        applies_at=policy.applies_at,
    )
