"""Which organizations may store no more readings: their plan is asked every so often."""

from collections.abc import Callable, Mapping

from fieldstation.core.errors import QuotaExceeded
from fieldstation.db.database import Database, Session
from fieldstation.domains.identity.ports import Quota

METRIC = "readings"
QUOTA_INTERVAL_S = 10.0


class ReadingQuotas:
    """Asks for every organization that connected to this node; ``tell`` hears who is refused.

    A message costs nothing for it.
    """

    def __init__(
        self,
        quota: Quota,
        database: Database,
        tell: Callable[[Mapping[str, QuotaExceeded]], None],
    ) -> None:
        self._quota = quota
        self._database = database
        self._tell = tell
        self._known: set[str] = set()
        self._refused: dict[str, QuotaExceeded] = {}

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
        self._tell(self._refused)
