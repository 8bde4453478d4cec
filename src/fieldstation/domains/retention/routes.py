"""Retention over HTTP: the rules, and what they come to on the disk."""

from typing import Annotated

from fastapi import Query

from fieldstation.domains.retention import errors
from fieldstation.domains.retention.access import Admin, Desk, Viewer
from fieldstation.domains.retention.schemas import RetentionPlan, RetentionRead, RetentionReplace
from fieldstation.domains.telemetry.schemas import DEVICE_ID
from fieldstation.web.docs.refusals import refuses
from fieldstation.web.etags import IfMatch, Tagged
from fieldstation.web.rate_limits import limited
from fieldstation.web.routing import API, station_router

router = station_router(f"{API}/data/retention", tag="Retention")


@router.get("", summary="Read retention rules")
async def read_retention(caller: Viewer, desk: Desk, tagged: Tagged) -> RetentionRead:
    """Return for how long readings and rollups are kept, and how much disk that takes.

    A rule is for a sensor type, a device group, both, or everything. For a series holds, of those
    that fit: a rule for a group and a type, else one for a group, else one for a type, else one for
    everything, else the station's default; of several groups the longest. Readings go by whole days
    in UTC, once an hour. Rollups answer for whole hours and days after readings are gone.

    **Cost.** The forecast is measured on at most 200 series of each kind of rule, the first time
    within ten minutes.
    """
    return tagged(await desk.read(caller))


@router.put(
    "",
    summary="Replace retention rules",
    responses=refuses(
        errors.duplicate_rule(0, 1, sensor_type="temperature"),
        errors.unknown_group(0, DEVICE_ID),
        errors.group_gone(),
    ),
)
@limited("30/minute")
async def replace_retention(
    *,
    form: RetentionReplace,
    caller: Admin,
    desk: Desk,
    match: IfMatch,
    tagged: Tagged,
    dry_run: Annotated[
        bool,
        Query(description="Only say what the list would delete; store nothing.", examples=[True]),
    ] = False,
) -> RetentionPlan:
    """Replace the whole list of rules. **What is older than they keep is deleted for good.**

    The list is in force an hour later, at `applies_at`; until then nothing is deleted, and another
    list can take its place. From then on an older reading that comes late is refused with
    `beyond_retention`. Keeping something longer brings nothing back. With `dry_run` nothing is
    stored: `removes` says about how much would go.
    """
    plan = await desk.replace(caller, form, dry_run=dry_run, match=match)
    return plan if dry_run else tagged(plan)
