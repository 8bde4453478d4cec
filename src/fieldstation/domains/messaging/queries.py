"""Every statement on retained messages, sessions and the nodes that own them."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    case,
    delete,
    null,
    select,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from fieldstation.db.base import Base
from fieldstation.db.statements import rows_changed, upsert
from fieldstation.domains.messaging.models import (
    HandoverRow,
    MessageRow,
    NodeRow,
    ReceivedRow,
    RetainedMessageRow,
    SessionRow,
    SubscriptionRow,
)

KEYS_PER_STATEMENT = 200
ROWS_PER_STATEMENT = 50
HANDOVERS_MAX = 1_000
US_PER_S = 1_000_000

Row = Mapping[str, Any]
Key = tuple[Any, ...]

OF_SESSIONS: tuple[type[SessionRow | SubscriptionRow | MessageRow | ReceivedRow], ...] = (
    SessionRow,
    SubscriptionRow,
    MessageRow,
    ReceivedRow,
)


async def all_retained(session: AsyncSession) -> Sequence[RetainedMessageRow]:
    return (await session.scalars(select(RetainedMessageRow))).all()


def of_owner(model: type[Any], node_id: str) -> ColumnElement[bool]:
    """Select the rows of a node's sessions."""
    if model is SessionRow:
        return SessionRow.node_id == node_id
    mine = select(SessionRow.organization_id, SessionRow.client_id)
    return tuple_(model.organization_id, model.client_id).in_(
        mine.where(SessionRow.node_id == node_id)
    )


def of_client(model: type[Any], key: Key) -> ColumnElement[bool]:
    """Select the rows of one session."""
    return and_(model.organization_id == key[0], model.client_id == key[1])


def in_order(model: type[Any]) -> Select[Any]:
    """Select sessions as their clients left, messages as they are sent, releases first."""
    if model is SessionRow:
        return select(model).order_by(SessionRow.left_us)
    if model is MessageRow:
        return select(model).order_by(MessageRow.released.desc(), MessageRow.position)
    return select(model)


async def rows_where(
    session: AsyncSession, model: type[Any], condition: ColumnElement[bool]
) -> Sequence[Any]:
    return (await session.scalars(in_order(model).where(condition))).all()


async def lock_sessions(session: AsyncSession, keys: Collection[Key]) -> list[SessionRow]:
    """Read sessions and keep their owners as they are until the transaction ends."""
    columns = (SessionRow.organization_id, SessionRow.client_id)
    wanted = sorted(keys)
    found: list[SessionRow] = []
    for start in range(0, len(wanted), KEYS_PER_STATEMENT):
        part = wanted[start : start + KEYS_PER_STATEMENT]
        statement = select(SessionRow).where(tuple_(*columns).in_(part)).order_by(*columns)
        found += (await session.scalars(statement.with_for_update())).all()
    return found


async def delete_sessions(
    session: AsyncSession, keys: Iterable[Key], *, only_contents: bool = False
) -> None:
    """Delete sessions with everything that belongs to them; a key is organization and client."""
    wanted = sorted(keys)
    for model in OF_SESSIONS[1:] if only_contents else OF_SESSIONS:
        await delete_keys(session, model, [model.organization_id, model.client_id], wanted)


async def put_rows(
    session: AsyncSession,
    model: type[Base],
    rows: Mapping[Key, Row | None],
    *,
    kept: Collection[str] = (),
    newest_by: str | None = None,
) -> None:
    """Insert or change the rows there are, delete under the primary keys that have none.

    ``kept`` columns stay as they are in a row that stands. With ``newest_by`` a row that stands
    goes only for one that is not older.
    """
    names = [column.key for column in model.__table__.primary_key]
    columns = [getattr(model, name) for name in names]
    await delete_keys(session, model, columns, sorted(k for k, row in rows.items() if row is None))
    present = {key: row for key, row in rows.items() if row is not None}
    added = [present[key] for key in sorted(present)]
    changed = [
        column.key for column in model.__table__.columns if column.key not in {*names, *kept}
    ]
    changed.sort(key=lambda name: name == newest_by)
    for start in range(0, len(added), ROWS_PER_STATEMENT):
        insert = upsert(
            session,
            model,
            added[start : start + ROWS_PER_STATEMENT],
            changes=lambda new: [(name, new[name]) for name in changed],
            where=None
            if newest_by is None
            else lambda new: getattr(model, newest_by) <= new[newest_by],
        )
        await session.execute(insert)


async def delete_keys(
    session: AsyncSession,
    model: type[Base],
    columns: Sequence[InstrumentedAttribute[Any] | ColumnElement[Any]],
    keys: Sequence[Key],
) -> None:
    for start in range(0, len(keys), KEYS_PER_STATEMENT):
        part = keys[start : start + KEYS_PER_STATEMENT]
        await session.execute(delete(model).where(tuple_(*columns).in_(part)))


async def mark_sent(session: AsyncSession, keys: Collection[Key]) -> None:
    """Note of messages that they have been sent."""
    columns = (MessageRow.organization_id, MessageRow.client_id, MessageRow.packet_id)
    wanted = sorted(keys)
    for start in range(0, len(wanted), KEYS_PER_STATEMENT):
        part = wanted[start : start + KEYS_PER_STATEMENT]
        statement = update(MessageRow).where(tuple_(*columns).in_(part)).values(sent=True)
        await session.execute(statement.execution_options(synchronize_session=False))


async def delete_retained(session: AsyncSession, rows: Sequence[tuple[str, str, Any]]) -> None:
    """Delete retained messages, given as organization, topic and instant, if none is newer."""
    for organization_id, topic, at in sorted(rows):
        await session.execute(
            delete(RetainedMessageRow).where(
                RetainedMessageRow.organization_id == organization_id,
                RetainedMessageRow.topic == topic,
                RetainedMessageRow.updated_at <= at,
            )
        )


# --- who owns a session


async def take(
    session: AsyncSession, key: Key, *, node_id: str, held_epoch: int | None, now_us: int
) -> tuple[int, str | None]:
    """Make this node the owner of a client id: return the new epoch and the former owner, if it is
    another.

    What this node holds already keeps its epoch.
    """
    organization_id, client_id = key
    row = {
        "organization_id": organization_id,
        "client_id": client_id,
        "owner": "",
        "expiry_s": 0,
        "left_us": 0,
        "began_us": now_us,
        "node_id": node_id,
        "epoch": now_us,
    }
    mine = SessionRow.node_id == node_id
    held = and_(mine, SessionRow.epoch == held_epoch)
    changes = (
        ("former_node_id", case((mine, null()), else_=SessionRow.node_id)),
        ("epoch", case((held, SessionRow.epoch), else_=SessionRow.epoch + 1)),
        ("node_id", node_id),
    )
    insert = upsert(session, SessionRow, [row], changes=lambda _: changes)
    result = await session.execute(insert.returning(SessionRow.epoch, SessionRow.former_node_id))
    taken = result.one()
    return taken.epoch, taken.former_node_id


async def settle_in(session: AsyncSession, key: Key, epoch: int) -> bool:
    """Let nobody but the owner change a session; false when it has another owner by now."""
    statement = (
        update(SessionRow)
        .where(of_client(SessionRow, key), SessionRow.epoch == epoch)
        .values(former_node_id=None)
    )
    return await rows_changed(session, statement) == 1


async def adopt(session: AsyncSession, *, node_id: str, everything: bool) -> None:
    """Give a starting node the sessions that nobody owns, or all of them."""
    condition = SessionRow.node_id == ""
    if everything:
        condition = SessionRow.node_id != node_id
    await session.execute(update(SessionRow).where(condition).values(node_id=node_id))
    mine = update(SessionRow).where(
        SessionRow.node_id == node_id, SessionRow.former_node_id.is_not(None)
    )
    await session.execute(mine.values(former_node_id=None))


async def seen_us(session: AsyncSession, node_id: str) -> int:
    found = await session.scalar(select(NodeRow.seen_us).where(NodeRow.node_id == node_id))
    return found or 0


async def note_seen(session: AsyncSession, node_id: str, at_us: int) -> None:
    await put_rows(session, NodeRow, {(node_id,): {"node_id": node_id, "seen_us": at_us}})


async def ask_to_hand_over(session: AsyncSession, row: Row) -> None:
    key = (row["node_id"], row["organization_id"], row["client_id"], row["epoch"])
    await put_rows(session, HandoverRow, {key: row})


async def handovers(session: AsyncSession, node_id: str) -> Sequence[HandoverRow]:
    statement = select(HandoverRow).where(HandoverRow.node_id == node_id).limit(HANDOVERS_MAX)
    return (await session.scalars(statement)).all()


def handover_key(*key: Any) -> ColumnElement[bool]:
    columns = (
        HandoverRow.node_id,
        HandoverRow.organization_id,
        HandoverRow.client_id,
        HandoverRow.epoch,
    )
    return and_(*(column == value for column, value in zip(columns, key, strict=True)))


async def is_asked(session: AsyncSession, key: Key) -> bool:
    statement = select(HandoverRow.node_id).where(handover_key(*key))
    return await session.scalar(statement) is not None


async def end_handovers(session: AsyncSession, keys: Collection[Key]) -> None:
    columns = [getattr(HandoverRow, column.key) for column in HandoverRow.__table__.primary_key]
    await delete_keys(session, HandoverRow, columns, sorted(keys))


def is_gone(before_us: int) -> ColumnElement[bool]:
    """Select the sessions of nodes that were not seen since."""
    living = select(NodeRow.node_id).where(NodeRow.seen_us >= before_us)
    return SessionRow.node_id.not_in(living)


async def leave_for_the_dead(session: AsyncSession, *, before_us: int) -> None:
    """Note when the clients of nodes that are gone were last there."""
    seen = select(NodeRow.seen_us).where(NodeRow.node_id == SessionRow.node_id).scalar_subquery()
    statement = (
        update(SessionRow)
        .where(SessionRow.left_us == 0, is_gone(before_us))
        .values(left_us=case((seen > 0, seen), else_=before_us))
    )
    await session.execute(statement.execution_options(synchronize_session=False))


async def expired_sessions(session: AsyncSession, *, before_us: int, limit: int) -> list[Key]:
    """Return sessions to delete that no living node would delete."""
    ends_us = SessionRow.left_us + SessionRow.expiry_s * US_PER_S
    statement = (
        select(SessionRow.organization_id, SessionRow.client_id)
        .where(SessionRow.left_us > 0, ends_us < before_us, is_gone(before_us))
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [tuple(row) for row in await session.execute(statement)]


async def delete_old_handovers(session: AsyncSession, *, before_us: int) -> None:
    await session.execute(delete(HandoverRow).where(HandoverRow.at_us < before_us))


async def delete_old_nodes(session: AsyncSession, *, before_us: int) -> None:
    """Forget nodes that are gone and own nothing."""
    owners = select(SessionRow.node_id)
    await session.execute(
        delete(NodeRow).where(NodeRow.seen_us < before_us, NodeRow.node_id.not_in(owners))
    )
