"""What trends look like at the edge: what is asked for, and one line a group."""

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, Field

from fieldstation.domains.telemetry.schemas import DEVICE_ID


class TrendRange(StrEnum):
    """How long a period is; a month has 30 days, a year 365."""

    DAY = "24h"
    WEEK = "7d"
    MONTH = "30d"
    QUARTER = "90d"
    YEAR = "1y"


class GroupBy(StrEnum):
    """Which series make one trend, besides being of one sensor type."""

    DEVICE = "device"
    TAG = "tag"
    TYPE = "type"


class TrendAggregate(StrEnum):
    """What the readings of a bucket, and of the whole period, come to."""

    AVG = "avg"
    MIN = "min"
    MAX = "max"
    SUM = "sum"
    COUNT = "count"


class Direction(StrEnum):
    """Where a line through the buckets leads."""

    RISING = "rising"
    FALLING = "falling"
    STEADY = "steady"


class TrendBucket(BaseModel):
    """What a group's readings in one interval come to."""

    start: datetime = Field(
        description="When the interval begins, in UTC.", examples=["2026-05-01T00:00:00.000000Z"]
    )
    value: float | None = Field(
        description="The aggregate; null when it is too large for a double.", examples=[21.3]
    )
    count: int = Field(description="Readings.", examples=[1440])


class TrendRead(BaseModel):
    """How one group of series went, against the period of the same length just before."""

    sensor_type: str = Field(description="What was measured.", examples=["temperature"])
    device_id: str | None = Field(
        description="The group's device, with `group_by=device`.", examples=[DEVICE_ID]
    )
    tag: str | None = Field(description="The group's tag, with `group_by=tag`.", examples=[None])
    series: int = Field(description="How many series are in the group.", examples=[1])
    units: list[str] = Field(
        description="Units with which its series were ever sent, sorted; of several units the"
        " aggregate is of numbers that do not belong together.",
        examples=[["°C"]],
    )
    count: int = Field(description="Readings in the period.", examples=[10_080])
    value: float | None = Field(
        description="The aggregate over all readings of the period; null without any (a sum or"
        " count is then 0).",
        examples=[21.3],
    )
    previous_count: int = Field(description="Readings in the period before.", examples=[10_080])
    previous_value: float | None = Field(
        description="The aggregate over all readings of the period before.", examples=[20.8]
    )
    change: float | None = Field(
        description="`value` less `previous_value`; null when one of them is.", examples=[0.5]
    )
    relative_change: float | None = Field(
        description="`change` by the size of `previous_value`: 0.1 is a tenth more; null when that"
        " is null or 0.",
        examples=[0.024],
    )
    slope_per_day: float | None = Field(
        description="How much the aggregate of a bucket grows a day, in its own unit: of the line"
        " through the buckets by least squares. Null with fewer than two whole buckets.",
        examples=[0.08],
    )
    direction: Direction | None = Field(
        description="Whether the line leads up or down, or is steady: its slope is then no more"
        " than twice its standard error. Null with fewer than three whole buckets.",
        examples=["rising"],
    )
    buckets: list[TrendBucket] = Field(
        description="In order of time. One without readings is left out; of `sum` and `count` it"
        " is there with 0."
    )


class TrendList(BaseModel):
    """The trends of every group that has numbers in the period or in the one before."""

    interval_s: int = Field(description="How long a bucket is, in seconds.", examples=[86_400])
    aggregate: TrendAggregate = Field(description="What was asked for.", examples=["avg"])
    group_by: GroupBy = Field(description="What was asked for.", examples=["device"])
    start: datetime = Field(
        description="The first instant of the period.", examples=["2026-05-01T12:00:00.000000Z"]
    )
    end: datetime = Field(
        description="The first instant behind the period.",
        examples=["2026-05-08T12:00:00.000000Z"],
    )
    items: list[TrendRead] = Field(description="By sensor type, then by device or tag.")
