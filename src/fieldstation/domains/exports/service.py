"""Decides about exports: which readings they hold, whether they are sent at once or written in the
background, and who may see them."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from fieldstation.core.clock import Clock, instant_to_us, us_to_instant
from fieldstation.core.errors import NotFound
from fieldstation.core.ids import new_id
from fieldstation.core.settings import ExportSettings
from fieldstation.db.database import Database, Session
from fieldstation.domains.audit.schemas import Change
from fieldstation.domains.audit.service import record
from fieldstation.domains.devices.service import devices
from fieldstation.domains.exports import errors, queries
from fieldstation.domains.exports.counting import holds_more
from fieldstation.domains.exports.formats import MEDIA_TYPES, load
from fieldstation.domains.exports.models import Export
from fieldstation.domains.exports.ports import Attempt, ExportFiles
from fieldstation.domains.exports.schemas import (
    Column,
    ExportCreate,
    ExportFormat,
    ExportRead,
    ExportStatus,
    Selection,
)
from fieldstation.domains.exports.writing import write_readings
from fieldstation.domains.identity.schemas import TenantScope
from fieldstation.domains.identity.schemas.callers import Caller
from fieldstation.domains.telemetry.ports import ReadingStore, SeriesRow
from fieldstation.domains.telemetry.service import ReadingFilter, find_series
from fieldstation.web.etags import ANY, Expected
from fieldstation.web.pagination import Listed, PageRequest, cut_page

KEPT = timedelta(hours=24)
AHEAD = timedelta(days=1, microseconds=1)
"""No reading is stored that is further ahead."""


@dataclass(frozen=True, slots=True)
class Sending:
    """A file on its way: its pieces, and what a client is told of it before."""

    pieces: AsyncGenerator[bytes, None]
    media_type: str
    name: str
    bytes: int | None = None


class ExportDesk:
    """Where exports are asked for; sends at most ``streams_max`` files of its own at a time."""

    def __init__(
        self,
        database: Database,
        store: ReadingStore,
        files: ExportFiles,
        *,
        clock: Clock,
        settings: ExportSettings,
        work_dir: Path,
    ) -> None:
        self._database = database
        self._store = store
        self.files = files
        self._clock = clock
        self._settings = settings
        self._work_dir = work_dir
        self._sending = 0

    @property
    def stall_timeout_s(self) -> float:
        """How long a client may take nothing."""
        return self._settings.stall_timeout_s

    async def ask(
        self, caller: Caller, form: ExportCreate, *, at_once: bool
    ) -> Sending | ExportRead:
        """Return a file that is begun, or the export that will be written in the background.

        That is what has more readings than one request sends, and what is not wanted ``at_once``.
        Raises ``Invalid``, ``TooManyRequests``, ``Busy``.
        """
        load(form.format)
        selection = self._selection(caller.scope, form)
        series = await self._series(caller.scope, selection)
        if not at_once or await holds_more(
            self._store,
            series,
            start_us=selection.start_us,
            end_us=selection.end_us,
            readings_max=self._settings.stream_readings_max,
        ):
            return await self._create(caller, selection)
        if self._sending >= self._settings.streams_max:
            raise errors.too_many_streams()
        written = write_readings(self._store, series, selection, work_dir=self._work_dir)
        return Sending(self._counted(written), MEDIA_TYPES[selection.format], file_name(selection))

    async def fetch(self, scope: TenantScope, export_id: str) -> Sending:
        """Return the file of a finished export. Raises ``NotFound``, ``Conflict``."""
        async with self._database.reading() as session:
            export = await find(session, scope, export_id)
        if export.status != ExportStatus.FINISHED:
            raise errors.not_finished(export.status)
        selection = selection_of(export)
        attempt = Attempt(export.id, export.attempt)
        return Sending(
            self.files.read(attempt) if export.bytes else nothing(),
            MEDIA_TYPES[selection.format],
            file_name(selection),
            export.bytes,
        )

    def _selection(self, scope: TenantScope, form: ExportCreate) -> Selection:
        end = form.end or self._clock.now() + AHEAD
        if form.start is not None and form.start >= end:
            raise errors.empty_period()
        types = None if form.sensor_types is None else tuple(map(str.lower, form.sensor_types))
        device_ids, visible = form.device_ids, scope.device_ids
        if visible is not None:
            for device_id in sorted(set(device_ids or ()) - visible):
                raise errors.unknown_device(device_id)
            device_ids = device_ids or sorted(visible)
        return Selection(
            organization_id=scope.organization_id,
            format=form.format,
            start_us=0 if form.start is None else max(0, instant_to_us(form.start)),
            end_us=max(0, instant_to_us(end)),
            device_ids=None if device_ids is None else tuple(device_ids),
            sensor_types=types,
            columns=tuple(form.columns or Column),
        )

    async def _series(self, scope: TenantScope, selection: Selection) -> Sequence[SeriesRow]:
        """Return the series; an id of a device that is nobody's here is refused.

        One that was deleted still has its readings.
        """
        wanted = selection.device_ids or ()
        series = await series_of(self._store, replace(selection, sensor_types=None))
        unknown = set(wanted) - {row.key.device_id for row in series}
        async with self._database.reading() as session:
            for device_id in sorted(unknown):
                try:
                    await devices.require_device(session, scope, device_id)
                except NotFound as error:
                    raise errors.unknown_device(device_id) from error
        types = selection.sensor_types
        return [row for row in series if types is None or row.key.sensor_type in types]

    async def _create(self, caller: Caller, selection: Selection) -> ExportRead:
        now = self._clock.now()
        most = self._settings.organization_exports_max
        async with self._database.transaction() as session:
            if await queries.count_exports(session, caller.scope) >= most:
                raise errors.too_many_exports(most)
            export = Export(
                id=new_id(),
                organization_id=caller.organization_id,
                user_id=caller.user_id,
                selection=stored(selection),
                status=ExportStatus.PENDING,
                attempt=0,
                readings=0,
                progress=0.0,
                bytes=0,
                error=None,
                created_at=now,
                finished_at=None,
                expires_at=now + KEPT,
                leased_by=None,
                leased_until=None,
            )
            queries.add_export(session, export)
            change = Change("export.created", "export", export.id, after=stored(selection))
            record(
                session,
                change,
                actor=caller.actor,
                organization_id=caller.organization_id,
                now=now,
            )
        return read(export)

    async def _counted(self, pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        self._sending += 1
        try:
            async for piece in pieces:
                yield piece
        finally:
            self._sending -= 1
            await pieces.aclose()


async def nothing() -> AsyncGenerator[bytes, None]:
    """Yield an empty file: none was written."""
    for piece in ():
        yield piece


async def series_of(store: ReadingStore, selection: Selection) -> Sequence[SeriesRow]:
    """Return the series that an export is made of."""
    wanted = ReadingFilter(device_ids=selection.device_ids, sensor_types=selection.sensor_types)
    return await find_series(store, TenantScope(selection.organization_id), wanted)


async def list_exports(
    session: Session, scope: TenantScope, page: PageRequest
) -> Listed[ExportRead]:
    """Return a page, newest first. Raises ``Invalid`` for a foreign cursor."""
    after = page.after(int, str)
    before = None if after is None else (us_to_instant(after[0]), after[1])
    rows = await queries.list_exports(session, scope, before=before, limit=page.limit + 1)
    kept, following = cut_page(rows, page, lambda row: (instant_to_us(row.created_at), row.id))
    total = await queries.count_exports(session, scope) if page.include_total else None
    return Listed(items=[read(export) for export in kept], next_cursor=following, total=total)


async def get_export(session: Session, scope: TenantScope, export_id: str) -> ExportRead:
    """Return an export. Raises ``NotFound``."""
    return read(await find(session, scope, export_id))


async def delete_export(
    session: Session, caller: Caller, export_id: str, *, now: datetime, match: Expected = ANY
) -> None:
    """Delete an export with its file; one that runs stops within seconds.

    Raises ``NotFound``, ``PreconditionFailed``.
    """
    export = await find(session, caller.scope, export_id)
    match.demand(read(export))
    change = Change("export.deleted", "export", export.id, before=export.selection)
    await queries.delete_export(session, export)
    record(session, change, actor=caller.actor, organization_id=caller.organization_id, now=now)


async def find(session: Session, scope: TenantScope, export_id: str) -> Export:
    export = await queries.find_export(session, scope, export_id)
    if export is None:
        raise errors.no_such_export()
    return export


def read(export: Export) -> ExportRead:
    selection = selection_of(export)
    return ExportRead(
        id=export.id,
        format=selection.format,
        status=ExportStatus(export.status),
        progress=export.progress,
        readings=export.readings,
        bytes=export.bytes,
        error=export.error,
        start=us_to_instant(selection.start_us) if selection.start_us else None,
        end=us_to_instant(selection.end_us),
        created_at=export.created_at,
        finished_at=export.finished_at,
        expires_at=export.expires_at,
    )


def stored(selection: Selection) -> dict[str, Any]:
    return {
        "format": selection.format,
        "start_us": selection.start_us,
        "end_us": selection.end_us,
        "device_ids": selection.device_ids and list(selection.device_ids),
        "sensor_types": selection.sensor_types and list(selection.sensor_types),
        "columns": list(selection.columns),
    }


def selection_of(export: Export) -> Selection:
    kept = export.selection
    devices, types = kept["device_ids"], kept["sensor_types"]
    return Selection(
        organization_id=export.organization_id,
        format=ExportFormat(kept["format"]),
        start_us=kept["start_us"],
        end_us=kept["end_us"],
        device_ids=None if devices is None else tuple(devices),
        sensor_types=None if types is None else tuple(types),
        columns=tuple(map(Column, kept["columns"])),
    )


def file_name(selection: Selection) -> str:
    """Return a name that says which period a file holds."""
    start = us_to_instant(selection.start_us) if selection.start_us else None
    begun = "oldest" if start is None else f"{start:%Y%m%dT%H%M%SZ}"
    ended = f"{us_to_instant(selection.end_us):%Y%m%dT%H%M%SZ}"
    return f"readings-{begun}-{ended}.{selection.format}"
