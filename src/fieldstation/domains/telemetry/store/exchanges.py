"""Packet ids of QoS 2 messages, committed with what these brought and kept until their release."""

from collections.abc import Sequence

from fieldstation.domains.telemetry.exchanges import Exchange
from fieldstation.domains.telemetry.models import mqtt_exchange
from fieldstation.domains.telemetry.store.dialect import Dialect
from fieldstation.domains.telemetry.store.steps import (
    KEEP_FIRST,
    Query,
    Steps,
    as_json,
    insert_rows,
)

NAMES = Exchange._fields
COLUMNS = ", ".join(NAMES)
KINDS = {
    "organization_id": "text",
    "client_id": "text",
    "began_us": "bigint",
    "packet_id": "integer",
}


def change(dialect: Dialect, begun: Sequence[Exchange], ended: Sequence[Exchange]) -> Steps[None]:
    """Delete what ended, keep what began: a statement for each."""
    if ended:
        source = dialect.rows("$1", "e", **KINDS)
        yield Query(
            dialect.finish(
                f"DELETE FROM mqtt_exchange WHERE ({COLUMNS}) IN (SELECT {COLUMNS} FROM {source})"
            ),
            (as_json(ended),),
        )
    if begun:
        yield insert_rows(mqtt_exchange, NAMES, begun, on_conflict=KEEP_FIRST)


def of_client(dialect: Dialect, client: tuple[str, str] | None) -> Steps[list[Exchange]]:
    """Read those of an organization's client, or of all: the table holds what is open."""
    where = "" if client is None else " WHERE organization_id = $1 AND client_id = $2"
    statement = dialect.finish(f"SELECT {COLUMNS} FROM mqtt_exchange{where}")
    rows = yield Query(statement, client or ())
    return [Exchange(*row) for row in rows]


def forget(dialect: Dialect, sessions: Sequence[tuple[str, str, int]]) -> Steps[None]:
    """Delete those of sessions that are over: one range of the primary key for each."""
    for session in sessions:
        yield Query(
            dialect.finish(
                "DELETE FROM mqtt_exchange"
                " WHERE organization_id = $1 AND client_id = $2 AND began_us = $3"
            ),
            session,
        )
