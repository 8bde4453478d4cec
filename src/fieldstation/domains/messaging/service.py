"""Keeps the state of the built-in MQTT broker that must survive a restart."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

from fieldstation.core.clock import instant_to_us, us_to_instant
from fieldstation.db.base import Base
from fieldstation.db.database import Session
from fieldstation.domains.messaging import queries
from fieldstation.domains.messaging.models import (
    MessageRow,
    ReceivedRow,
    RetainedMessageRow,
    SessionRow,
    SubscriptionRow,
)
from fieldstation.domains.messaging.schemas import (
    Change,
    KeptSession,
    MessageSent,
    MessageState,
    QueuedMessage,
    ReceivedState,
    Retained,
    SessionChange,
    SessionCleared,
    SessionEnded,
    SessionState,
    SubscriptionState,
)

Key = tuple[str, str]
TABLES: tuple[type[Base], ...] = (SessionRow, SubscriptionRow, MessageRow, ReceivedRow)
OWNED_COLUMNS = ("node_id", "epoch", "former_node_id")


async def load_retained(session: Session) -> list[Retained]:
    """Return every organization's retained messages."""
    return [
        Retained(
            row.organization_id,
            row.topic,
            row.payload,
            row.qos,
            row.properties or b"",
            row.expires_us or 0,
            instant_to_us(row.updated_at),
        )
        for row in await queries.all_retained(session)
    ]


async def load_sessions(
    session: Session, *, node_id: str, everything: bool = True
) -> list[KeptSession]:
    """Return the sessions of a node that starts, those that their clients left first first.

    It also takes those without an owner, or ``everything`` if there can be no other node.
    """
    await queries.adopt(session, node_id=node_id, everything=everything)
    conditions = [queries.of_owner(model, node_id) for model in TABLES]
    return await _load(session, conditions)


async def load_session(
    session: Session, organization_id: str, client_id: str
) -> KeptSession | None:
    """Return one session, if it is there."""
    key = (organization_id, client_id)
    conditions = [queries.of_client(model, key) for model in TABLES]
    return next(iter(await _load(session, conditions)), None)


async def _load(session: Session, conditions: Sequence[Any]) -> list[KeptSession]:
    """Put together what stands in the tables."""
    states, subscribed, queue, held = [
        await queries.rows_where(session, model, condition)
        for model, condition in zip(TABLES, conditions, strict=True)
    ]
    subscriptions: dict[Key, list[SubscriptionState]] = {}
    for row in subscribed:
        state = SubscriptionState(
            row.organization_id, row.client_id, row.topic_filter, row.options, row.identifier
        )
        subscriptions.setdefault((row.organization_id, row.client_id), []).append(state)
    messages: dict[Key, list[tuple[int, QueuedMessage]]] = {}
    for row in queue:
        key = (row.organization_id, row.client_id)
        messages.setdefault(key, []).append((row.packet_id, queued(row)))
    received: dict[Key, list[int]] = {}
    for row in held:
        received.setdefault((row.organization_id, row.client_id), []).append(row.packet_id)
    return [
        KeptSession(
            state_of(row),
            tuple(subscriptions.get((row.organization_id, row.client_id), ())),
            tuple(messages.get((row.organization_id, row.client_id), ())),
            tuple(received.get((row.organization_id, row.client_id), ())),
        )
        for row in states
    ]


def state_of(row: SessionRow) -> SessionState:
    return SessionState(
        row.organization_id,
        row.client_id,
        row.owner,
        row.expiry_s,
        row.left_us,
        row.epoch,
        row.began_us,
    )


def queued(row: MessageRow) -> QueuedMessage:
    return QueuedMessage(
        position=row.position,
        topic=row.topic,
        payload=row.payload,
        qos=row.qos,
        retain=row.retain,
        properties=row.properties,
        expires_us=row.expires_us,
        sent=row.sent,
        released=row.released,
    )


async def save(
    session: Session, changes: Iterable[Change], *, node_id: str, fenced: bool = False
) -> None:
    """Apply changes in order: the last one of each object stands.

    ``fenced``: of sessions that another node owns by now, nothing is changed.
    """
    wanted = list(changes)
    final = Final(node_id)
    for change in await _still_ours(session, wanted) if fenced else wanted:
        final.apply(change)
    await queries.delete_sessions(session, final.ended)
    await queries.delete_sessions(session, final.cleared - final.ended, only_contents=True)
    for table in TABLES:
        if rows := final.rows[table]:
            kept = OWNED_COLUMNS if table is SessionRow else ()
            await queries.put_rows(session, table, rows, kept=kept)
    await queries.mark_sent(session, final.sent)
    retained = final.retained.items()
    await queries.delete_retained(session, [(*k, at) for k, (row, at) in retained if row is None])
    added = {key: row for key, (row, _) in retained if row is not None}
    await queries.put_rows(session, RetainedMessageRow, added, newest_by="updated_at")


async def _still_ours(session: Session, changes: Sequence[Change]) -> list[Change]:
    """Drop the changes of those who own a session no more.

    What a former owner ends is over for the new one: it finds that there is nothing to go on with.
    """
    keys = {(c.organization_id, c.client_id) for c in changes if not isinstance(c, Retained)}
    rows = {
        (row.organization_id, row.client_id): row
        for row in await queries.lock_sessions(session, keys)
    }
    kept: list[Change] = []
    for change in changes:
        if isinstance(change, Retained):
            kept.append(change)
        elif row := rows.get((change.organization_id, change.client_id)):
            if change.epoch == row.epoch:
                kept.append(change)
            elif row.former_node_id is not None and change.epoch == row.epoch - 1:
                kept += _of_former(change, row)
    return kept


def _of_former(change: SessionChange, row: SessionRow) -> list[Change]:
    if not isinstance(change, SessionEnded):
        return [change]
    cleared = SessionCleared(change.organization_id, change.client_id)
    return [cleared, replace(state_of(row), expiry_s=0, left_us=0)]


class Final:
    """What many changes come to: by table and primary key a row, or ``None`` to delete it.

    A message that is queued and done within one commit never reaches the table.
    """

    def __init__(self, node_id: str) -> None:
        self.ended: set[Key] = set()
        self.cleared: set[Key] = set()
        self.sent: set[tuple[Any, ...]] = set()
        self.retained: dict[Key, tuple[dict[str, Any] | None, datetime]] = {}
        self.rows: dict[type[Base], dict[tuple[Any, ...], dict[str, Any] | None]] = {
            table: {} for table in TABLES
        }
        self._node_id = node_id
        self._new: set[tuple[Any, ...]] = set()

    def apply(self, change: Change) -> None:
        """Take one more change."""
        match change:
            case Retained():
                self._retain(change)
            case SessionEnded() | SessionCleared():
                self._end(change)
            case SessionState():
                key = (change.organization_id, change.client_id)
                row = {**asdict(change), "node_id": self._node_id, "former_node_id": None}
                self.rows[SessionRow][key] = row
            case SubscriptionState():
                self._put(SubscriptionRow, change, change.topic_filter, stays=change.options)
            case ReceivedState():
                held = change.held or None
                self._put(ReceivedRow, change, change.packet_id, stays=held, without="held")
            case MessageState():
                self._queue(change)
            case MessageSent():
                self._mark_sent(change)

    def _put(
        self,
        table: type[Base],
        change: SubscriptionState | ReceivedState,
        name: str | int,
        *,
        stays: object,
        without: str = "",
    ) -> None:
        row = {k: v for k, v in asdict(change).items() if k not in {"epoch", without}}
        key = (change.organization_id, change.client_id, name)
        self.rows[table][key] = None if stays is None else row

    def _retain(self, change: Retained) -> None:
        at = us_to_instant(change.at_us)
        row = None
        if change.payload:
            row = {k: v for k, v in asdict(change).items() if k != "at_us"} | {"updated_at": at}
        self.retained[change.organization_id, change.topic] = (row, at)

    def _queue(self, change: MessageState) -> None:
        key = (change.organization_id, change.client_id, change.packet_id)
        rows = self.rows[MessageRow]
        self.sent.discard(key)
        if change.message is None:
            if key in self._new:
                self._new.discard(key)
                del rows[key]
            else:
                rows[key] = None
            return
        if key not in rows and not change.message.released:
            self._new.add(key)
        rows[key] = {
            "organization_id": change.organization_id,
            "client_id": change.client_id,
            "packet_id": change.packet_id,
            **asdict(change.message),
        }

    def _mark_sent(self, change: MessageSent) -> None:
        key = (change.organization_id, change.client_id, change.packet_id)
        if (row := self.rows[MessageRow].get(key)) is not None:
            row["sent"] = True
        else:
            self.sent.add(key)

    def _end(self, change: SessionEnded | SessionCleared) -> None:
        whose = (change.organization_id, change.client_id)
        tables = TABLES
        if isinstance(change, SessionEnded):
            self.ended.add(whose)
        else:
            self.cleared.add(whose)
            tables = TABLES[1:]
        self.sent = {key for key in self.sent if key[:2] != whose}
        for table in tables:
            rows = self.rows[table]
            for key in [key for key in rows if key[:2] == whose]:
                del rows[key]
                self._new.discard(key)
