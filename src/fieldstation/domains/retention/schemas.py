"""What retention looks like at the edge: rules, and what they come to on the disk."""

from datetime import datetime
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from fieldstation.domains.devices.schemas.groups import GROUP_ID
from fieldstation.domains.telemetry.schemas import SENSOR_TYPE_CHARACTERS_MAX, SensorType
from fieldstation.web.docs.examples import examples
from fieldstation.web.instants import NO_NUL

RULES_MAX = 100
DAYS_MAX = 36_500

Days = Annotated[int, Field(ge=1, le=DAYS_MAX)]


class KeptDays(BaseModel):
    """For how long readings and rollups are kept."""

    raw_days: Days | None = Field(
        default=None,
        description="For how many whole days (UTC) before today readings are kept; null: forever.",
        examples=[30],
    )
    rollup_days: Days | None = Field(
        default=None,
        description="The same for their rollups per hour and day, which buckets and charts read "
        "where readings are gone; null: forever. At least `raw_days`.",
        examples=[365],
    )


class RetentionRuleForm(KeptDays):
    """For how long what a sensor type and a device group select is kept."""

    model_config = ConfigDict(extra="forbid")

    sensor_type: SensorType | None = Field(
        default=None,
        description="Only this type, lower-cased; null: all types.",
        examples=["temperature"],
        json_schema_extra={"maxLength": SENSOR_TYPE_CHARACTERS_MAX},
    )
    group_id: Annotated[str, StringConstraints(pattern=NO_NUL, max_length=36)] | None = Field(
        default=None,
        description="Only the devices of this group; null: all devices.",
        examples=[GROUP_ID],
    )

    @model_validator(mode="after")
    def rollups_outlive_readings(self) -> "RetentionRuleForm":
        """Refuse rollups that would go before what they are made of."""
        if self.rollup_days is not None and (
            self.raw_days is None or self.raw_days > self.rollup_days
        ):
            raise ValueError("rollup_days must be at least raw_days; null is forever")
        return self


class RetentionReplace(BaseModel):
    """The whole list of rules."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra=examples(
            a_month_of_readings_two_years_of_rollups={
                "rules": [{"raw_days": 30, "rollup_days": 730}]
            },
            one_type_for_a_week={
                "rules": [
                    {"sensor_type": "vibration", "raw_days": 7, "rollup_days": 90},
                    {"raw_days": 365},
                ]
            },
            everything_forever={"rules": []},
        ),
    )

    rules: list[RetentionRuleForm] = Field(
        max_length=RULES_MAX,
        description="In any order, each type and group once; an empty list leaves the default.",
    )


class RetentionRuleRead(KeptDays):
    """A rule of the list."""

    sensor_type: str | None = Field(description="The type, or all.", examples=["temperature"])
    group_id: str | None = Field(description="The group, or all devices.", examples=[None])


class DiskForecast(BaseModel):
    """The disk of the station's readings."""

    free_bytes: int = Field(description="What is free on it now.", ge=0, examples=[64_000_000_000])
    full_at: datetime | None = Field(
        description="When this organization's growth alone fills it; null: not within a hundred "
        "years.",
        examples=["2031-05-01T00:00:00.000000Z"],
    )


class Forecast(BaseModel):
    """How much the organization's readings take on the disk, and will take under the rules.

    Measured on at most 200 series of each kind of rule and scaled up; grows on as it did in the
    last week. It counts compressed readings and rollups once they are written, ten minutes after
    they came at the latest; not the intake log of the last day, nor indexes.
    """

    measured_at: datetime = Field(
        description="When it was measured; that is kept for ten minutes.",
        examples=["2026-05-01T12:00:00.000000Z"],
    )
    series: int = Field(description="How many series there are.", ge=0, examples=[120])
    readings: int = Field(description="Readings that stand.", ge=0, examples=[51_840_000])
    readings_per_day: int = Field(
        description="What came in a day, by the last seven.", ge=0, examples=[1_728_000]
    )
    bytes_per_reading: float | None = Field(
        description="What a reading takes, without rollups; null: there is none.", examples=[1.7]
    )
    raw_bytes: int = Field(description="What readings take.", ge=0, examples=[88_128_000])
    rollup_bytes: int = Field(description="What rollups take.", ge=0, examples=[9_400_000])
    bytes_in_30_days: int = Field(
        description="What both will take in 30 days.", ge=0, examples=[97_528_000]
    )
    bytes_in_365_days: int = Field(
        description="What both will take in 365 days.", ge=0, examples=[202_500_000]
    )
    bytes_steady: int | None = Field(
        description="Where it ends under the rules; null: something is kept forever, and grows.",
        examples=[316_000_000],
    )
    disk: DiskForecast | None = Field(
        description="Only for the station's own organization, and null where a database server "
        "has the disk."
    )


class RetentionState(BaseModel):
    """The rules of an organization: what a change replaces."""

    rules: list[RetentionRuleRead] = Field(description="The list, as it was sent.")
    default: KeptDays = Field(description="What holds where no rule fits: the station's setting.")
    applies_at: datetime | None = Field(
        description="From when on the list is in force: an hour after it was sent. Until then "
        "nothing is deleted and nothing refused. Null: there never was one.",
        examples=["2026-05-01T13:00:00.000000Z"],
    )


class Removal(BaseModel):
    """What stands now and is older than the list keeps."""

    series: int = Field(description="Series that lose readings or rollups.", ge=0, examples=[12])
    readings: int = Field(description="About so many readings.", ge=0, examples=[10_368_000])
    bytes: int = Field(
        description="About so many bytes, rollups included.", ge=0, examples=[18_000_000]
    )


class RetentionRead(RetentionState):
    """The rules of an organization and what they come to."""

    etag_ignores: ClassVar[tuple[str, ...]] = ("forecast",)

    forecast: Forecast = Field(description="What it comes to on the disk.")


class RetentionPlan(RetentionRead):
    """A list that was stored, or with `dry_run` only looked at, and what it deletes."""

    etag_ignores: ClassVar[tuple[str, ...]] = ("forecast", "removes", "dry_run")

    removes: Removal = Field(description="What the first run after `applies_at` deletes.")
    dry_run: bool = Field(description="Whether nothing was stored.", examples=[False])
