"""Which node serves a client id: taking it, handing it over, and who is there."""

from fieldstation.core.clock import Clock
from fieldstation.db.database import Session, announce
from fieldstation.domains.messaging import queries, service
from fieldstation.domains.messaging.events import SessionsTaken
from fieldstation.domains.messaging.schemas import Handover, KeptSession

US_PER_S = 1_000_000
ALIVE_US = 3 * US_PER_S
GONE_US = 60 * US_PER_S
HANDOVERS_KEPT_US = 24 * 3600 * US_PER_S
PURGED_MAX = 500


async def take(
    session: Session,
    *,
    organization_id: str,
    client_id: str,
    node_id: str,
    held_epoch: int | None,
    fresh: bool,
    now_us: int,
) -> tuple[int, str | None]:
    """Make this node a client id's owner: return the epoch, and the node to wait for, if any.

    The former owner is told; one that is not there is not waited for. ``held_epoch`` is that of
    the session that this node holds and goes on with; ``fresh`` says that the client begins anew.
    """
    key = (organization_id, client_id)
    epoch, former = await queries.take(
        session, key, node_id=node_id, held_epoch=held_epoch, now_us=now_us
    )
    if not former:
        return epoch, former
    asked = {
        "node_id": former,
        "organization_id": organization_id,
        "client_id": client_id,
        "epoch": epoch,
        "fresh": fresh,
        "at_us": now_us,
    }
    await queries.ask_to_hand_over(session, asked)
    announce(session, SessionsTaken(node_id=former))
    return epoch, former


async def is_there(session: Session, node_id: str, *, now_us: int) -> bool:
    """Whether a node showed life within the last seconds."""
    return await queries.seen_us(session, node_id) > now_us - ALIVE_US


async def is_handed_over(session: Session, node_id: str, handover: Handover) -> bool:
    """Whether a node gave up what it was asked for."""
    return not await queries.is_asked(session, key_of(node_id, handover))


async def settle_in(
    session: Session, organization_id: str, client_id: str, *, epoch: int
) -> tuple[bool, KeptSession | None]:
    """End the former owner's say and load the session; false when a third node took it."""
    if not await queries.settle_in(session, (organization_id, client_id), epoch):
        return False, None
    return True, await service.load_session(session, organization_id, client_id)


async def wanted_from(session: Session, node_id: str) -> list[Handover]:
    """Return what other nodes took from this one."""
    return [
        Handover(row.organization_id, row.client_id, row.epoch, row.fresh)
        for row in await queries.handovers(session, node_id)
    ]


async def hand_over(session: Session, node_id: str, given_up: list[Handover]) -> None:
    """Say that everything about these sessions is saved and nothing more will come."""
    await queries.end_handovers(session, {key_of(node_id, each) for each in given_up})


async def note_seen(session: Session, node_id: str, at_us: int) -> None:
    """Say that this node is there; 0 when it stops."""
    await queries.note_seen(session, node_id, at_us)


async def purge(session: Session, clock: Clock) -> int:
    """Delete what nodes that are gone would have deleted; return how many sessions."""
    before_us = clock.now_us() - GONE_US
    await queries.leave_for_the_dead(session, before_us=before_us)
    expired = await queries.expired_sessions(session, before_us=before_us, limit=PURGED_MAX)
    await queries.delete_sessions(session, expired)
    await queries.delete_old_handovers(session, before_us=clock.now_us() - HANDOVERS_KEPT_US)
    await queries.delete_old_nodes(session, before_us=clock.now_us() - HANDOVERS_KEPT_US)
    return len(expired)


def key_of(node_id: str, handover: Handover) -> tuple[str, str, str, int]:
    return (node_id, handover.organization_id, handover.client_id, handover.epoch)
