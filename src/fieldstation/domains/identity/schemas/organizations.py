"""The API's shapes of organizations and their members."""

from datetime import datetime
from typing import Annotated

from pydantic import ConfigDict, Field, model_validator

from fieldstation.domains.identity.schemas.callers import Role
from fieldstation.domains.identity.schemas.credentials import (
    LOGIN_CHARACTERS_MAX,
    PRINTABLE_PATTERN,
    Input,
    Output,
    exactly_one,
)
from fieldstation.web.docs.examples import examples

SLUG_PATTERN = r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$"

OrganizationName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=100,
        pattern=PRINTABLE_PATTERN,
        description="How the organization is called.",
        examples=["Harbour weather"],
    ),
]
Slug = Annotated[
    str,
    Field(
        pattern=SLUG_PATTERN,
        description="Short name: 1 to 63 lower-case letters, digits and inner hyphens; unique.",
        examples=["harbour-weather"],
    ),
]


class OrganizationCreate(Input):
    """A new organization; whoever makes it owns it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra=examples(
            only_a_name={"name": "Harbour weather"},
            with_a_slug={"name": "Harbour weather", "slug": "harbour"},
            slug_made_up={"name": "Robotics club", "slug": None},
        ),
    )

    name: OrganizationName
    slug: Slug | None = None


class OrganizationReplace(Input):
    """An organization as it shall be; without a slug it keeps its own."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra=examples(
            new_name={"name": "Harbour weather"},
            new_name_and_slug={"name": "Harbour & coast weather", "slug": "harbour-coast"},
            another_slug={"name": "Robotics club", "slug": "robotics"},
        ),
    )

    name: OrganizationName
    slug: Slug | None = None


class OrganizationRead(Output):
    """An organization."""

    id: str = Field(
        description="The organization's id.", examples=["0198c0de-7a3b-7c11-9b51-3f5a6f2f6a02"]
    )
    name: str = Field(description="Its name.", examples=["Harbour weather"])
    slug: str = Field(
        description="Its short name, for `X-Organization`.", examples=["harbour-weather"]
    )
    created_at: datetime = Field(description="When it was made.", examples=["2026-11-22T08:00:00Z"])
    updated_at: datetime = Field(
        description="When it was last changed.", examples=["2026-11-22T08:00:00Z"]
    )


class MemberAdd(Input):
    """An existing user who shall become a member."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra=examples(
            by_email={"email": "grace@example.org", "role": "operator"},
            by_id={"user_id": "0198c0de-7a3b-7c11-9b51-3f5a6f2f6a01", "role": "viewer"},
            an_administrator={"email": "mary@example.org", "role": "admin"},
        )
        | exactly_one("user_id", "email"),
    )

    user_id: str | None = Field(
        default=None,
        max_length=36,
        description="The user's id, or else give the e-mail address.",
        examples=["0198c0de-7a3b-7c11-9b51-3f5a6f2f6a01"],
    )
    email: str | None = Field(
        default=None,
        max_length=LOGIN_CHARACTERS_MAX,
        description="The user's e-mail address.",
        examples=["grace@example.org"],
    )
    role: Role = Field(description="Role, at most your own.", examples=["operator"])

    @model_validator(mode="after")
    def one_name(self) -> "MemberAdd":
        if (self.user_id is None) == (self.email is None):
            raise ValueError("give either user_id or email")
        return self


class MemberReplace(Input):
    """A member's new role."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra=examples(
            operator={"role": "operator"},
            administrator={"role": "admin"},
            viewer={"role": "viewer"},
        ),
    )

    role: Role = Field(description="Role, at most your own.", examples=["admin"])


class MemberRead(Output):
    """A member of an organization."""

    user_id: str = Field(
        description="The user's id.", examples=["0198c0de-7a3b-7c11-9b51-3f5a6f2f6a01"]
    )
    email: str = Field(description="E-mail address.", examples=["grace@example.org"])
    username: str | None = Field(description="Username, if any.", examples=["grace"])
    full_name: str | None = Field(description="Name, if given.", examples=["Grace Hopper"])
    role: Role = Field(description="Role in this organization.", examples=["operator"])
    is_active: bool = Field(description="Whether the user may log in.", examples=[True])
    created_at: datetime = Field(description="Member since.", examples=["2026-11-22T08:00:00Z"])
