"""Who may see and change how long readings are kept: users only."""

from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from fieldstation.domains.identity.access import Caller, require
from fieldstation.domains.retention.desk import RetentionDesk

Viewer = Annotated[Caller, Depends(require("telemetry:read"))]
Admin = Annotated[Caller, Depends(require("org:admin"))]


async def the_desk(connection: HTTPConnection) -> RetentionDesk:
    return connection.app.state.retention


Desk = Annotated[RetentionDesk, Depends(the_desk)]
