"""What a node knows of every organization's rules: the intake asks for each device, the job for
each series."""

import asyncio
from collections.abc import Mapping

from fieldstation.core.clock import Clock
from fieldstation.core.tasks import repeat
from fieldstation.db.database import Database
from fieldstation.domains.retention import service
from fieldstation.domains.retention.policies import US_PER_DAY, Kept, Policy, cutoffs
from fieldstation.domains.telemetry.kept import ALL_US

LOOK_INTERVAL_S = 2.0
MEMBERS_INTERVAL_S = 60.0


class Keeping:
    """Implements the intake's ``Retention``. Rules are known within two seconds on every node, who
    is in which group within a minute.
    """

    def __init__(self, database: Database, clock: Clock, default: Kept) -> None:
        self._database = database
        self._clock = clock
        self._default = default
        self._without_rules = Policy(0, None, (), {}, default)
        self._policies: Mapping[str, Policy] = {}
        self._members_read_s: float | None = None
        self._looking = asyncio.Lock()
        self._moment: tuple[int, frozenset[str]] = (0, frozenset())
        self.version = 0

    def raw_from_us(self, organization_id: str, device_id: str, sensor_type: str) -> int:
        """Return the first instant that is kept of a series, as the clock was at the last look."""
        today, in_force = self._moment
        policy = self._policies.get(organization_id, self._without_rules)
        is_in_force = policy is self._without_rules or organization_id in in_force
        if not (is_in_force and policy.deletes):
            return ALL_US
        before_us = cutoffs(policy.kept(device_id, sensor_type), today * US_PER_DAY).raw_before_us
        return ALL_US if before_us is None else max(ALL_US, before_us)

    def in_force(self, organization_id: str) -> Policy | None:
        """Return the rules that hold for an organization now; none where a list is still to come
        into force, or nothing is ever deleted."""
        policy = self._policies.get(organization_id, self._without_rules)
        if not policy.is_in_force(self._clock.now()):
            return None
        return policy if policy.deletes else None

    @property
    def default_deletes(self) -> bool:
        """Whether organizations without rules keep something for a limited time."""
        return self._without_rules.deletes

    def organizations(self) -> list[str]:
        """Return the organizations that have rules."""
        return list(self._policies)

    async def run_forever(self) -> None:
        """Look until cancelled; a database that is away only delays it."""
        await repeat(self.look, interval_s=LOOK_INTERVAL_S)

    async def look(self, *, members: bool = False) -> None:
        """Take over what changed; who is in which group only with ``members`` or once a minute.

        Cost: one row for each organization with rules, and the rules and groups of those that are
        read. Raises ``Busy``.
        """
        async with self._looking:  # what was read later is never replaced by what was read before
            now_s, read_s = self._clock.monotonic(), self._members_read_s
            if members or read_s is None or now_s - read_s >= MEMBERS_INTERVAL_S:
                known: Mapping[str, Policy] = {}
                read_s = now_s
            else:
                known = self._policies
            async with self._database.reading() as session:
                found = await service.load_policies(session, known, default=self._default)
            self._members_read_s = read_s
            self._take_over(found)

    def _take_over(self, found: Mapping[str, Policy]) -> None:
        """Keep what is the same as it was: the job goes on with a policy while it is that one."""
        known = self._policies
        kept = {name: known[name] if known.get(name) == it else it for name, it in found.items()}
        now = self._clock.now()
        in_force = frozenset(name for name, policy in kept.items() if policy.is_in_force(now))
        moment = (self._clock.now_us() // US_PER_DAY, in_force)
        is_same = kept.keys() == known.keys() and all(kept[name] is known[name] for name in kept)
        if not is_same or moment != self._moment:
            self._policies, self._moment = kept, moment
            self.version += 1
