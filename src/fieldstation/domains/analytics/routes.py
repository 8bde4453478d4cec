"""Analytics over HTTP: how what is measured goes."""

import asyncio

from fastapi import Request, Response

from fieldstation.db.database import Database
from fieldstation.domains.analytics import service
from fieldstation.domains.analytics.parameters import Trending
from fieldstation.domains.analytics.schemas import TrendList
from fieldstation.domains.analytics.service import TrendRequest
from fieldstation.domains.identity.schemas import TenantScope
from fieldstation.domains.telemetry.access import Reader
from fieldstation.domains.telemetry.parameters import Store
from fieldstation.domains.telemetry.ports import ReadingStore
from fieldstation.domains.telemetry.rendering import encode
from fieldstation.web.bodies import JSON
from fieldstation.web.dependencies import TheDatabase
from fieldstation.web.leaving import unless_left
from fieldstation.web.routing import API, station_router

router = station_router(f"{API}/analytics", tag="Analytics")


@router.get("/trends", response_model=TrendList, summary="Read trends")
async def read_trends(
    *, request: Request, caller: Reader, store: Store, database: TheDatabase, asked: Trending
) -> Response:
    """Return how groups of series went: their buckets, what the whole period comes to against the
    period of the same length just before, and the slope of a line through the buckets.

    Series that are grouped are joined reading by reading: the average of a group is that of all
    its readings. Booleans are 0 and 1; texts are skipped. Buckets at the edges of the period hold
    what of them lies in it. The line is that of least squares through the buckets that lie in the
    period as a whole, each weighing the same.

    **Cost.** Of each series it reads the summaries of both periods and only their edges, the
    newest hours and what came late in full. At most 100,000 buckets, all series together: those of
    some 270 series for a year by days, of 3,200 for 30 days.
    """
    return await unless_left(request, answered(store, database, caller.scope, asked))


async def answered(
    store: ReadingStore, database: Database, scope: TenantScope, asked: TrendRequest
) -> Response:
    content = await service.find_trends(store, database, scope, asked)
    return Response(await asyncio.to_thread(encode, content), media_type=JSON)
