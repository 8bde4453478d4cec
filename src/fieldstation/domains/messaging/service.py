"""Keeps the state of the built-in MQTT broker that must survive a restart."""

from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from typing import Any

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
    MessageState,
    QueuedMessage,
    ReceivedState,
    Retained,
    SessionEnded,
    SessionState,
    SubscriptionState,
)

Key = tuple[str, str]
TABLES: tuple[type[Base], ...] = (
    RetainedMessageRow,
    SessionRow,
    SubscriptionRow,
    MessageRow,
    ReceivedRow,
)


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
        )
        for row in await queries.all_retained(session)
    ]


async def load_sessions(session: Session) -> list[KeptSession]:
    """Return every organization's sessions, those that their clients left first first."""
    subscriptions: dict[Key, list[SubscriptionState]] = {}
    for row in await queries.all_subscriptions(session):
        state = SubscriptionState(
            row.organization_id, row.client_id, row.topic_filter, row.options, row.identifier
        )
        subscriptions.setdefault((row.organization_id, row.client_id), []).append(state)
    messages: dict[Key, list[tuple[int, QueuedMessage]]] = {}
    for message in await queries.all_messages(session):
        key = (message.organization_id, message.client_id)
        messages.setdefault(key, []).append((message.packet_id, queued(message)))
    received: dict[Key, list[int]] = {}
    for held in await queries.all_received(session):
        received.setdefault((held.organization_id, held.client_id), []).append(held.packet_id)
    return [
        KeptSession(
            SessionState(row.organization_id, row.client_id, row.owner, row.expiry_s, row.left_us),
            tuple(subscriptions.get((row.organization_id, row.client_id), ())),
            tuple(messages.get((row.organization_id, row.client_id), ())),
            tuple(received.get((row.organization_id, row.client_id), ())),
        )
        for row in await queries.all_sessions(session)
    ]


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


async def save(session: Session, changes: Iterable[Change], *, now: datetime) -> None:
    """Apply changes in order: the last one of each object stands."""
    final = Final(now)
    for change in changes:
        final.apply(change)
    await queries.delete_sessions(session, final.ended)
    for table in TABLES:
        if rows := final.rows[table]:
            await queries.replace_rows(session, table, rows)


class Final:
    """What many changes come to: by table and primary key a row, or ``None`` to delete it.

    A message that is queued and done within one commit never reaches the table.
    """

    def __init__(self, now: datetime) -> None:
        self.ended: set[Key] = set()
        self.rows: dict[type[Base], dict[tuple[Any, ...], dict[str, Any] | None]] = {
            table: {} for table in TABLES
        }
        self._now = now
        self._new: set[tuple[Any, ...]] = set()

    def apply(self, change: Change) -> None:
        """Take one more change."""
        match change:
            case Retained():
                self._retain(change)
            case SessionEnded():
                self._end(change)
            case SessionState():
                self._put(SessionRow, change, change.client_id, row=asdict(change))
            case SubscriptionState():
                row = asdict(change) if change.options is not None else None
                self._put(SubscriptionRow, change, change.client_id, change.topic_filter, row=row)
            case ReceivedState():
                key = {"client_id": change.client_id, "packet_id": change.packet_id}
                row = {"organization_id": change.organization_id, **key} if change.held else None
                self._put(ReceivedRow, change, *key.values(), row=row)
            case MessageState():
                self._queue(change)

    def _put(
        self, table: type[Base], change: Change, *key: Any, row: dict[str, Any] | None
    ) -> None:
        self.rows[table][change.organization_id, *key] = row

    def _retain(self, change: Retained) -> None:
        row = asdict(change) | {"updated_at": self._now} if change.payload else None
        self._put(RetainedMessageRow, change, change.topic, row=row)

    def _queue(self, change: MessageState) -> None:
        key = (change.organization_id, change.client_id, change.packet_id)
        rows = self.rows[MessageRow]
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

    def _end(self, change: SessionEnded) -> None:
        ended = (change.organization_id, change.client_id)
        self.ended.add(ended)
        for table in TABLES[1:]:
            rows = self.rows[table]
            for key in [key for key in rows if key[:2] == ended]:
                del rows[key]
                self._new.discard(key)
