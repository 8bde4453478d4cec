"""Exports over HTTP: files of readings, sent at once or written in the background."""

from typing import Annotated, Any

from fastapi import Query, Request, Response

from fieldstation.domains.exports import errors, service
from fieldstation.domains.exports.access import Desk, Exporter
from fieldstation.domains.exports.formats import MEDIA_TYPES
from fieldstation.domains.exports.schemas import ExportCreate, ExportRead, ExportStatus
from fieldstation.domains.exports.service import Sending
from fieldstation.web.bodies import JSON
from fieldstation.web.dependencies import Db, ReadDb, TheClock
from fieldstation.web.docs.refusals import refuses
from fieldstation.web.etags import IfMatch, Tagged
from fieldstation.web.pagination import Listed, Page
from fieldstation.web.routing import API, station_router
from fieldstation.web.sending import SentFile

router = station_router(f"{API}/data", tag="Exports")
PATH = f"{API}/data/exports"
CSV_EXAMPLE = "timestamp,sensor_id,value,unit\r\n2026-05-01T12:00:00.000000Z,bme280-1,21.5,°C\r\n"


def a_file() -> dict[str, Any]:
    """Return how OpenAPI describes a file of any format."""
    return {
        "description": "The file, whole or broken off: it never ends before its last reading.",
        "content": {
            media_type: {
                "schema": {"type": "string"},
                "example": CSV_EXAMPLE if media_type == "text/csv" else "…",
            }
            for media_type in MEDIA_TYPES.values()
        },
    }


@router.post(
    "/export",
    response_class=Response,
    summary="Export readings",
    responses={
        200: a_file(),
        202: {
            "description": "Too much to be sent at once: it is written in the background.",
            "model": ExportRead,
        },
        **refuses(
            errors.format_not_installed("parquet", extra="parquet"),
            errors.unknown_device("0198c0de-7a3b-7c11-9b51-3f5a6f2f6a20"),
            errors.empty_period(),
            errors.too_many_exports(20),
            errors.too_many_streams(),
        ),
    },
)
async def export_readings(
    *,
    request: Request,
    form: ExportCreate,
    caller: Exporter,
    desk: Desk,
    wait: Annotated[
        bool,
        Query(description="false: write it in the background, however small.", examples=[False]),
    ] = True,
) -> Response:
    """Send a period's readings as a file, ordered by time; over a million of them are written in
    the background, and so is everything with `wait=false` and by HTTP 1.0: 202 with the export,
    whose progress and file are at `/api/v1/data/exports/{export_id}`.

    A file that is sent at once is made while it is read, so a failure in the middle breaks the
    connection off. XLSX is sent when it is complete. In CSV and XLSX, texts that a spreadsheet
    would take for a formula have an apostrophe in front; numbers never have. `fieldstation import`
    reads all four formats back.
    """
    at_once = wait and request.scope.get("http_version") != "1.0"
    answer = await desk.ask(caller, form, at_once=at_once)
    if isinstance(answer, Sending):
        return await sent(answer, stall_timeout_s=desk.stall_timeout_s)
    return Response(
        answer.model_dump_json(),
        202,
        headers={"Location": f"{PATH}/{answer.id}"},
        media_type=JSON,
    )


@router.get("/exports", summary="List exports")
async def list_exports(caller: Exporter, db: ReadDb, page: Page) -> Listed[ExportRead]:
    """List the exports that are written in the background or were, always newest first."""
    return await service.list_exports(db, caller.scope, page)


@router.get("/exports/{export_id}", summary="Read an export")
async def read_export(export_id: str, caller: Exporter, db: ReadDb, tagged: Tagged) -> ExportRead:
    """Return how far an export is."""
    return tagged(await service.get_export(db, caller.scope, export_id))


@router.get(
    "/exports/{export_id}/download",
    response_class=Response,
    summary="Download an export",
    responses={200: a_file(), **refuses(errors.not_finished(ExportStatus.RUNNING))},
)
async def download_export(export_id: str, caller: Exporter, desk: Desk) -> Response:
    """Send the file of a finished export, as often as wanted until it expires."""
    sending = await desk.fetch(caller.scope, export_id)
    return await sent(sending, stall_timeout_s=desk.stall_timeout_s)


@router.delete("/exports/{export_id}", status_code=204, summary="Delete an export")
async def delete_export(
    export_id: str, caller: Exporter, db: Db, clock: TheClock, match: IfMatch
) -> None:
    """Delete an export and its file; one that is still written is cancelled."""
    await service.delete_export(db, caller, export_id, now=clock.now(), match=match)


async def sent(sending: Sending, *, stall_timeout_s: float) -> SentFile:
    return await SentFile.begin(
        sending.pieces,
        media_type=sending.media_type,
        name=sending.name,
        length=sending.bytes,
        stall_timeout_s=stall_timeout_s,
    )
