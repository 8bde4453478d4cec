"""A station that keeps everything in memory and commits when the test says so."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

from fieldstation.adapters.mqtt_server.ports import (
    MqttCredentials,
    MqttIdentity,
    Receipt,
    Verdict,
)
from fieldstation.core.errors import Busy, StationError, Unauthenticated
from fieldstation.domains.messaging.schemas import Change, KeptSession, Retained
from fieldstation.domains.telemetry.exchanges import Exchange
from tests.adapters.mqtt_server.kept_sessions import KeptSessions

PASSWORD = "secret"


def make_identity(
    name: str, *, organization_id: str = "org-a", device: bool = False
) -> MqttIdentity:
    return MqttIdentity(
        organization_id=organization_id,
        device_id=name if device else None,
        user_id=None if device else name,
        can_publish_any=not device,
        can_subscribe_any=not device,
        subjects=frozenset({name, f"key-of-{name}"}),
    )


class MemoryStation:
    """Takes what is published to ``…/readings`` and passes everything else.

    Everybody may connect with ``PASSWORD``. Devices stay below ``devices/{id}/``. A username is
    ``name`` (a user of org-a) or ``name@organization``, with ``device:`` before it for a device.
    """

    def __init__(self, *, room: int = 1_000_000, commits_itself: bool = True) -> None:
        self.room = room
        self.commits_itself = commits_itself
        self.taken: list[tuple[str, bytes]] = []
        self.passed: list[tuple[str, bytes]] = []
        self.committed = 0
        self.over_quota: set[str] = set()
        self.forbidden_filters: set[str] = set()
        self.seen_names: Counter[str] = Counter()
        self.credentials: list[MqttCredentials] = []
        self.refusals: dict[str, Exception] = {}
        self.doors_open = asyncio.Event()
        self.doors_open.set()
        self.retained: dict[tuple[str, str], Retained] = {}
        self.sessions = KeptSessions()
        self.retained_commits: list[int] = []
        self.retained_busy = False
        self.retained_may_commit = asyncio.Event()
        self.retained_may_commit.set()
        self.broken_topics: set[str] = set()
        self.broken_clients: set[str] = set()
        self.not_loaded_topics: set[str] = set()
        self.verdicts: dict[bytes, Verdict] = {}
        """What becomes of payloads that are not simply taken."""
        self._unsettled: list[Receipt] = []
        self._begun: list[tuple[int, Exchange]] = []
        self._wakes: list[Callable[[], None]] = []

    async def authenticate(self, credentials: MqttCredentials) -> MqttIdentity:
        self.credentials.append(credentials)
        await self.doors_open.wait()
        username = credentials.username or ""
        if (refusal := self.refusals.get(username)) is not None:
            raise refusal
        if credentials.password != PASSWORD.encode():
            raise Unauthenticated("wrong password")
        name, _, organization_id = username.partition("@")
        device = name.startswith("device:")
        return make_identity(
            name.removeprefix("device:"),
            organization_id=organization_id or "org-a",
            device=device,
        )

    def may_publish(self, identity: MqttIdentity, topic: str) -> bool:
        if topic in self.broken_topics:
            raise RuntimeError("a defect in the station")
        return identity.can_publish_any or topic.startswith(f"devices/{identity.device_id}/")

    def is_over_quota(self, identity: MqttIdentity) -> bool:
        return identity.organization_id in self.over_quota

    def may_subscribe(self, identity: MqttIdentity, topic_filter: str) -> bool:
        if topic_filter in self.forbidden_filters:
            return False
        own = topic_filter.startswith(f"devices/{identity.device_id}/")
        return identity.can_subscribe_any or own

    def publish(
        self,
        identity: MqttIdentity,
        topic: str,
        payload: bytes,
        receipt: Receipt,
    ) -> Verdict:
        if not self.may_publish(identity, topic):
            return Verdict.DENIED
        if topic in self.not_loaded_topics:
            return Verdict.WAIT
        if not topic.endswith("/readings"):
            self.passed.append((topic, payload))
            return Verdict.PASSED
        if len(self._unsettled) >= self.room:
            return Verdict.FULL
        self._unsettled.append(receipt)
        if self.commits_itself:
            asyncio.get_running_loop().call_soon(self.commit)
        if identity.organization_id in self.over_quota:
            return Verdict.OVER_QUOTA
        verdict = self.verdicts.get(payload, Verdict.TAKEN)
        if verdict is not Verdict.TOO_LARGE:
            self.taken.append((topic, payload))
        return verdict

    def keep_exchange(self, exchange: Exchange) -> None:
        self._begun.append((len(self._unsettled), exchange))

    def end_exchange(self, exchange: Exchange, receipt: Receipt) -> None:
        self.sessions.exchanges.discard(exchange)
        asyncio.get_running_loop().call_soon(receipt.settle, 1)

    def commit(self, count: int | None = None) -> None:
        """Settle the oldest messages, as one group commit does."""
        group = self._unsettled[:count]
        self._unsettled = self._unsettled[len(group) :]
        self.sessions.exchanges |= {each for at, each in self._begun if at <= len(group)}
        self._begun = [(at - len(group), each) for at, each in self._begun if at > len(group)]
        self.committed += len(group)
        for receipt, settled in Counter(group).items():
            receipt.settle(settled)
        self.wake()

    def wake(self) -> None:
        """Tell everybody who waits that there is room."""
        wakes = self._wakes
        self._wakes = []
        for wake in wakes:
            wake()

    def lose_everything(self) -> None:
        """Fail what was taken, as a database that went away does."""
        group = self._unsettled
        self._unsettled = []
        self._begun = []
        for receipt, count in Counter(group).items():
            receipt.fail(count)

    @property
    def waiting_for_room(self) -> int:
        return len(self._wakes)

    @property
    def unsettled(self) -> int:
        return len(self._unsettled)

    def when_ready(self, wake: Callable[[], None]) -> None:
        self._wakes.append(wake)

    def seen(self, identity: MqttIdentity) -> None:
        self.seen_names[identity.device_id or identity.user_id or ""] += 1

    async def load_retained(self) -> Sequence[Retained]:
        return list(self.retained.values())

    async def load_sessions(self) -> Sequence[KeptSession]:
        return self.sessions.load()

    async def save(self, changes: Sequence[Change]) -> None:
        await self.retained_may_commit.wait()
        if self.retained_busy:
            raise Busy("the database is away")
        if any(getattr(change, "client_id", "") in self.broken_clients for change in changes):
            raise ValueError("a defect in the station")
        self.retained_commits.append(len(changes))
        for change in changes:
            if isinstance(change, Retained):
                self.retained.pop((change.organization_id, change.topic), None)
                if change.payload:
                    self.retained[change.organization_id, change.topic] = change
            else:
                self.sessions.apply(change)

    def refuse(self, username: str, error: StationError | RuntimeError) -> None:
        """Answer this username's CONNECT with an error."""
        self.refusals[username] = error
