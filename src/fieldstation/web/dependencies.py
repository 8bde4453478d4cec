"""What every route may ask for: a session that writes, one that only reads, the clock."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import HTTPConnection

from fieldstation.core.clock import Clock
from fieldstation.core.settings import Settings
from fieldstation.db.database import Database
from fieldstation.web.rate_limits import NamedLimits


async def database(connection: HTTPConnection) -> Database:
    return connection.app.state.database


async def clock(connection: HTTPConnection) -> Clock:
    return connection.app.state.clock


async def settings(connection: HTTPConnection) -> Settings:
    return connection.app.state.settings


async def limits(connection: HTTPConnection) -> NamedLimits:
    return connection.app.state.named_limits


async def open_session(
    database: Annotated[Database, Depends(database)],
) -> AsyncIterator[AsyncSession]:
    async with database.transaction() as session:
        yield session


async def open_read_session(
    database: Annotated[Database, Depends(database)],
) -> AsyncIterator[AsyncSession]:
    async with database.reading() as session:
        yield session


# scope="function" commits before the response leaves: a failed commit reaches the client.
Db = Annotated[AsyncSession, Depends(open_session, scope="function")]
ReadDb = Annotated[AsyncSession, Depends(open_read_session, scope="function")]
TheDatabase = Annotated[Database, Depends(database)]
TheClock = Annotated[Clock, Depends(clock)]
TheLimits = Annotated[NamedLimits, Depends(limits)]
TheSettings = Annotated[Settings, Depends(settings)]
