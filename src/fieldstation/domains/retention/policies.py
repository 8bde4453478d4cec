"""What the rules of an organization come to for a series."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

US_PER_DAY = 86_400 * 1_000_000


class Kept(NamedTuple):
    """For how many whole days readings and rollups are kept; None: forever."""

    raw_days: int | None
    rollup_days: int | None


class Cutoffs(NamedTuple):
    """The instants, beginnings of days in UTC, before which nothing is kept; None: all is."""

    raw_before_us: int | None
    rollups_before_us: int | None


FOREVER = Kept(None, None)
ALL = Cutoffs(None, None)


class Rule(NamedTuple):
    """For how long what a type and a group select is kept; None selects everything."""

    sensor_type: str | None
    group_id: str | None
    kept: Kept


@dataclass(frozen=True, slots=True)
class Policy:
    """An organization's rules with the devices of the groups that they name.

    ``deletes``: anything is kept for a limited time. Two of one version with the same members are
    the same.
    """

    version: int
    applies_at: datetime | None
    rules: tuple[Rule, ...]
    members: Mapping[str, Collection[str]]
    default: Kept
    deletes: bool = field(init=False, compare=False)
    _by_target: Mapping[tuple[str | None, str | None], Kept] = field(init=False, compare=False)
    _groups_of: Mapping[str, Sequence[str]] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        targets = {(rule.group_id, rule.sensor_type): rule.kept for rule in self.rules}
        groups_of: defaultdict[str, list[str]] = defaultdict(list)
        for group_id, device_ids in self.members.items():
            for device_id in device_ids:
                groups_of[device_id].append(group_id)
        deletes = any(kept != FOREVER for kept in (self.default, *targets.values()))
        object.__setattr__(self, "deletes", deletes)
        object.__setattr__(self, "_by_target", targets)
        object.__setattr__(self, "_groups_of", dict(groups_of))

    def kept(self, device_id: str, sensor_type: str) -> Kept:
        """Return what holds for a series.

        A rule for a group and a type goes before one for a group, that before one for a type, that
        before one for everything, that before the default. Of several groups the longest keeps.
        """
        rules = self._by_target
        groups = self._groups_of.get(device_id, ())
        for targets in (
            [(group_id, sensor_type) for group_id in groups],
            [(group_id, None) for group_id in groups],
            [(None, sensor_type)],
            [(None, None)],
        ):
            found = [rules[target] for target in targets if target in rules]
            if found:
                return longest(found)
        return self.default

    def is_in_force(self, now: datetime) -> bool:
        return self.applies_at is None or self.applies_at <= now


def longest(found: Sequence[Kept]) -> Kept:
    """Return the longer time for readings and for rollups, each by itself."""
    return Kept(longer(kept.raw_days for kept in found), longer(kept.rollup_days for kept in found))


def longer(days: Iterable[int | None]) -> int | None:
    listed = list(days)
    return None if None in listed else max(one for one in listed if one is not None)


def cutoffs(kept: Kept, now_us: int) -> Cutoffs:
    """Return what is too old now: today and ``days`` whole days before it are kept."""
    return Cutoffs(before(kept.raw_days, now_us), before(kept.rollup_days, now_us))


def before(days: int | None, now_us: int) -> int | None:
    return None if days is None else (now_us // US_PER_DAY - days) * US_PER_DAY
