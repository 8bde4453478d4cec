"""What a group of devices looks like at the edge."""

from datetime import datetime
from typing import Annotated, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema

from fieldstation.db.base import ID_LENGTH
from fieldstation.domains.devices.schemas.devices import DEVICE_ID, ORGANIZATION_ID, Name
from fieldstation.domains.devices.tag_expressions import CHARACTERS_MAX, parse_expression
from fieldstation.web.docs.examples import examples
from fieldstation.web.instants import NO_NUL

GROUP_ID = "0198c0de-7a3b-7c11-9b51-3f5a6f2f6a50"
GROUPS_MAX = 200
"""Of an organization."""
MEMBERS_MAX = 5_000
"""That a group lists; more, and there is no end, by their tags."""
EXPRESSION = "site:lab AND NOT (retired OR test)"


def checked(text: str) -> str:
    """Return an expression as it was written. Raises ``ValueError`` for what is none."""
    parse_expression(text)
    return text


DeviceIds = Annotated[
    list[Annotated[str, StringConstraints(pattern=NO_NUL, min_length=1, max_length=ID_LENGTH)]],
    Field(max_length=MEMBERS_MAX),
]
TagExpression = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True, pattern=NO_NUL, min_length=1, max_length=CHARACTERS_MAX
    ),
    AfterValidator(checked),
]
Description = Annotated[str, StringConstraints(pattern=NO_NUL, max_length=2000)]


class DeviceGroupCreate(BaseModel):
    """A group to make, or (with PUT) its new description; it has `device_ids` or a
    `tag_expression`."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra=examples(
            by_tags={"name": "Lab", "tag_expression": EXPRESSION},
            by_members={
                "name": "Greenhouse 2",
                "description": "What hangs on the north wall",
                "device_ids": [DEVICE_ID],
            },
            still_empty={"name": "Spares", "device_ids": []},
        ),
    )

    name: Name = Field(
        description="For people; unique in the organization, whatever its case.", examples=["Lab"]
    )
    description: Description | None = Field(
        default=None, description="Free text.", examples=["North wall, 1.5 m"]
    )
    device_ids: DeviceIds | SkipJsonSchema[None] = Field(
        default=None, description="The devices that belong to it.", examples=[[DEVICE_ID]]
    )
    tag_expression: TagExpression | SkipJsonSchema[None] = Field(
        default=None,
        description="Or: which tags a device needs to belong to it, at any time. `NOT` binds "
        'before `AND`, that before `OR`; a tag that is spelled like one of them is written `"or"`.',
        examples=[EXPRESSION],
    )

    @model_validator(mode="after")
    def either(self) -> "DeviceGroupCreate":
        if (self.device_ids is None) == (self.tag_expression is None):
            raise ValueError("give device_ids or a tag_expression, one of the two")
        return self


class DeviceGroupUpdate(BaseModel):
    """The fields to change; the others stay."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra=examples(
            new_name={"name": "Laboratory"},
            other_tags={"tag_expression": "site:lab OR site:annex"},
            from_now_on_these={"device_ids": [DEVICE_ID], "description": "No longer by tags"},
        ),
    )

    name: Name | SkipJsonSchema[None] = Field(
        default=None, description="For people.", examples=["Laboratory"]
    )
    description: Description | None = Field(
        default=None, description="Free text.", examples=["South wall"]
    )
    device_ids: DeviceIds | SkipJsonSchema[None] = Field(
        default=None,
        description="Replaces all members, and a tag expression.",
        examples=[[DEVICE_ID]],
    )
    tag_expression: TagExpression | SkipJsonSchema[None] = Field(
        default=None,
        description="Replaces the tag expression, or the list of members.",
        examples=["site:lab OR site:annex"],
    )

    @model_validator(mode="after")
    def at_most_one(self) -> "DeviceGroupUpdate":
        if self.device_ids is not None and self.tag_expression is not None:
            raise ValueError("give device_ids or a tag_expression, one of the two")
        return self


class DeviceGroupRead(BaseModel):
    """A group of devices."""

    model_config = ConfigDict(from_attributes=True)

    id: str = Field(description="UUIDv7.", examples=[GROUP_ID])
    organization_id: str = Field(description="Whose it is.", examples=[ORGANIZATION_ID])
    name: str = Field(description="For people.", examples=["Lab"])
    description: str | None = Field(description="Free text.", examples=["All of building 4"])
    tag_expression: str | None = Field(
        description="Which devices belong to it; null: those that are listed as members.",
        examples=[EXPRESSION],
    )
    created_at: datetime = Field(description="When it was made.", examples=["2026-04-02T08:30:00Z"])
    updated_at: datetime = Field(
        description="When it last changed, its list of members included.",
        examples=["2026-04-20T16:05:00Z"],
    )


class DeviceGroupDetail(DeviceGroupRead):
    """A group of devices, and how many belong to it."""

    etag_ignores: ClassVar[frozenset[str]] = frozenset({"member_count"})

    member_count: int = Field(description="How many devices belong to it now.", ge=0, examples=[12])
