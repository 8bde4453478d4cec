"""Who may export readings: a scope of its own; no device."""

from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from fieldstation.domains.exports.service import ExportDesk
from fieldstation.domains.identity.access import Caller, require

Exporter = Annotated[Caller, Depends(require("data:export"))]


async def the_desk(connection: HTTPConnection) -> ExportDesk:
    return connection.app.state.exports


Desk = Annotated[ExportDesk, Depends(the_desk)]
