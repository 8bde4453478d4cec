"""Keeps the state of the built-in MQTT broker that must survive a restart."""

from collections.abc import Sequence
from datetime import datetime

from fieldstation.db.database import Session
from fieldstation.domains.messaging import queries
from fieldstation.domains.messaging.schemas import Retained


async def load_retained(session: Session) -> list[Retained]:
    """Return every organization's retained messages."""
    return [
        Retained(row.organization_id, row.topic, row.payload, row.qos)
        for row in await queries.all_retained(session)
    ]


async def save_retained(session: Session, changes: Sequence[Retained], *, now: datetime) -> None:
    """Apply changes in order: the last one of a topic stands, an empty payload deletes."""
    final = {(change.organization_id, change.topic): change for change in changes}
    await queries.replace_retained(session, list(final.values()), now=now)
