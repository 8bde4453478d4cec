"""Which organizations may store no more readings: their plan is asked every so often."""

from collections.abc import Callable, Mapping

from fieldstation.core.errors import QuotaExceeded, TooManyRequests
from fieldstation.db.database import Database, Session
from fieldstation.domains.identity.ports import Quota

METRIC = "readings"
QUOTA_INTERVAL_S = 10.0
RETRY_AFTER_S = 60
"""A plan may change any moment: whoever is refused comes back soon, and that costs no question."""

Refused = Mapping[str, QuotaExceeded]


class ReadingQuotas:
    """Asks for every organization that sends something to this node, and remembers who is refused.

    A message costs nothing for it.
    """

    def __init__(self, quota: Quota, database: Database) -> None:
        self._quota = quota
        self._database = database
        self._known: set[str] = set()
        self._refused: dict[str, QuotaExceeded] = {}
        self._tell: list[Callable[[Refused], None]] = []

    def when_asked(self, tell: Callable[[Refused], None]) -> None:
        """Tell who is refused whenever the plans were asked."""
        self._tell.append(tell)

    async def check(self, organization_id: str) -> None:
        """Return if an organization may store readings. Raises ``TooManyRequests`` and ``Busy``."""
        if organization_id not in self._known:
            await self.learn(organization_id)
        refusal = self._refused.get(organization_id)
        if refusal is not None:
            raise used_up(refusal)

    async def learn(self, organization_id: str) -> None:
        """Ask for an organization unless that was done before. Raises ``Busy``."""
        if organization_id not in self._known:
            async with self._database.reading() as session:
                await self._ask(session, organization_id)
            self._known.add(organization_id)

    async def look(self) -> None:
        """Ask for all of them again. Raises ``Busy``."""
        async with self._database.reading() as session:
            for organization_id in tuple(self._known):
                await self._ask(session, organization_id)

    async def _ask(self, session: Session, organization_id: str) -> None:
        try:
            await self._quota.check(session, organization_id, METRIC, adding=1)
        except QuotaExceeded as refusal:
            self._refused[organization_id] = refusal
        else:
            self._refused.pop(organization_id, None)
        for tell in self._tell:
            tell(self._refused)


def used_up(refusal: QuotaExceeded) -> TooManyRequests:
    return TooManyRequests(
        "The plan's readings are used up and nothing of this was stored; change the plan, or send "
        "it again when they are counted anew.",
        retry_after_s=RETRY_AFTER_S,
        code=refusal.code,
        members=refusal.members,
    )
