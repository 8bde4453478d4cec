"""The API's shapes of users and of the caller's own account."""

from datetime import datetime
from typing import Annotated, ClassVar

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from fieldstation.domains.identity.schemas.callers import Role
from fieldstation.domains.identity.schemas.credentials import (
    PRINTABLE_PATTERN,
    GivenPassword,
    Input,
    Output,
)
from fieldstation.web.docs.examples import examples

EMAIL_CHARACTERS_MAX = 240
PUBLIC_LABEL = ".example"
USERNAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{2,49}$"


def well_formed_email(value: str) -> str:
    """Return the address in its normal form. Raises ``ValueError``.

    A station without internet has names like ``ada@lab.local``, which the library would refuse as
    special; with one more label behind them it checks only their form.
    """
    try:
        checked = validate_email(value + PUBLIC_LABEL, check_deliverability=False)
    except EmailNotValidError as error:
        raise ValueError(str(error)) from error
    return checked.normalized.removesuffix(PUBLIC_LABEL)


def refuse_null(form: BaseModel, *names: str) -> None:
    """Tell a field that is left out (unchanged) from one that is null, where null means nothing."""
    for name in names:
        if name in form.model_fields_set and getattr(form, name) is None:
            raise ValueError(f"{name} must not be null")


Email = Annotated[
    str,
    Field(
        max_length=EMAIL_CHARACTERS_MAX,
        description="E-mail address; unique, whatever its case.",
        examples=["ada@example.org"],
        json_schema_extra={"format": "email"},
    ),
    AfterValidator(well_formed_email),
]
Username = Annotated[
    str,
    Field(
        pattern=USERNAME_PATTERN,
        description="3 to 50 letters, digits, `.`, `_`, `-`; unique, whatever its case.",
        examples=["ada"],
    ),
]
FullName = Annotated[
    str,
    Field(
        max_length=200,
        pattern=PRINTABLE_PATTERN,
        description="How the user is called.",
        examples=["Ada Lovelace"],
    ),
]


class RegisterRequest(Input):
    """A new account with an organization of its own."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra=examples(
            only_what_is_needed={"email": "ada@example.org", "password": "barefoot-otter-41-lamp"},
            with_names={
                "email": "ada@example.org",
                "username": "ada",
                "full_name": "Ada Lovelace",
                "password": "barefoot-otter-41-lamp",
            },
            own_organization={
                "email": "grace@example.org",
                "password": "seven-quiet-anvils-drift",
                "organization_name": "Harbour weather",
            },
        ),
    )

    email: Email
    password: GivenPassword
    username: Username | None = None
    full_name: FullName | None = None
    organization_name: str | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        pattern=PRINTABLE_PATTERN,
        description="Name of the account's own organization.",
        examples=["Harbour weather"],
    )


class UserCreate(Input):
    """A new account that the organization manages; without a password, one is made up."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra=examples(
            password_made_up={"email": "grace@example.org", "role": "operator"},
            with_names={
                "email": "grace@example.org",
                "role": "viewer",
                "username": "grace",
                "full_name": "Grace Hopper",
            },
            with_a_password={
                "email": "mary@example.org",
                "role": "admin",
                "password": "seven-quiet-anvils-drift",
            },
        ),
    )

    email: Email
    role: Role = Field(
        default=Role.VIEWER,
        description="Role in this organization, at most your own.",
        examples=["operator"],
    )
    password: GivenPassword | None = None
    username: Username | None = None
    full_name: FullName | None = None


class UserReplace(Input):
    """A member as they shall be; what is left out becomes empty."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra=examples(
            only_what_is_needed={"email": "grace@example.org", "role": "operator"},
            with_names={
                "email": "grace@example.org",
                "role": "admin",
                "username": "grace",
                "full_name": "Grace Hopper",
                "is_active": True,
            },
            switched_off={"email": "grace@example.org", "role": "viewer", "is_active": False},
        ),
    )

    email: Email
    role: Role = Field(
        description="Role in this organization, at most your own.", examples=["operator"]
    )
    username: Username | None = None
    full_name: FullName | None = None
    is_active: bool = Field(
        default=True,
        description="An inactive user's tokens and keys are refused at once.",
        examples=[True],
    )


class UserUpdate(Input):
    """What shall change about a member; profile, password and activity only of managed accounts."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra=examples(
            new_role={"role": "admin"},
            switched_off={"is_active": False},
            new_password={"password": "seven-quiet-anvils-drift"},
        ),
    )

    email: Email | SkipJsonSchema[None] = None
    role: Role | SkipJsonSchema[None] = Field(
        default=None,
        description="Role in this organization, at most your own.",
        examples=["operator"],
    )
    username: Username | None = None
    full_name: FullName | None = None
    is_active: bool | SkipJsonSchema[None] = Field(
        default=None,
        description="An inactive user's tokens and keys are refused at once.",
        examples=[False],
    )
    password: GivenPassword | SkipJsonSchema[None] = None

    @model_validator(mode="after")
    def never_empty(self) -> "UserUpdate":
        refuse_null(self, "email", "role", "is_active", "password")
        return self


class ProfileUpdate(Input):
    """What users may change about their own account."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra=examples(
            new_name={"full_name": "Ada King"},
            new_username={"username": "ada.king"},
            new_email={"email": "ada@example.net"},
        ),
    )

    email: Email | SkipJsonSchema[None] = None
    username: Username | None = None
    full_name: FullName | None = None

    @model_validator(mode="after")
    def never_empty(self) -> "ProfileUpdate":
        refuse_null(self, "email")
        return self


class AccountRead(Output):
    """A user's account."""

    etag_ignores: ClassVar[frozenset[str]] = frozenset({"last_login_at", "password"})

    id: str = Field(description="The user's id.", examples=["0198c0de-7a3b-7c11-9b51-3f5a6f2f6a01"])
    email: str = Field(description="E-mail address.", examples=["ada@example.org"])
    username: str | None = Field(description="Username, if any.", examples=["ada"])
    full_name: str | None = Field(description="Name, if given.", examples=["Ada Lovelace"])
    is_active: bool = Field(description="Whether the user may log in.", examples=[True])
    created_at: datetime = Field(
        description="When the account was made.", examples=["2026-11-22T08:00:00Z"]
    )
    updated_at: datetime = Field(
        description="When the account was last changed.", examples=["2026-11-22T08:00:00Z"]
    )
    last_login_at: datetime | None = Field(
        description="When the user last logged in.", examples=["2026-11-22T09:30:00Z"]
    )


class UserRead(AccountRead):
    """A user as a member of an organization."""

    role: Role = Field(description="Role in this organization.", examples=["operator"])
    managed: bool = Field(
        description="Whether this organization made the account and may change all of it.",
        examples=[True],
    )


class UserCreated(UserRead):
    """A new member; `password` only if it was made for them, and only now."""

    password: str | None = Field(
        default=None,
        description="The generated password, shown this once.",
        examples=["kelp-sonnet-violin-marble-57"],
    )


class StandingRead(Output):
    """What the user is in one organization, as far as this token reaches."""

    organization_id: str = Field(
        description="The organization's id.", examples=["0198c0de-7a3b-7c11-9b51-3f5a6f2f6a02"]
    )
    name: str = Field(description="Its name.", examples=["Harbour weather"])
    slug: str = Field(
        description="Its short name, for `X-Organization`.", examples=["harbour-weather"]
    )
    role: Role = Field(description="The user's role there.", examples=["owner"])
    scopes: list[str] = Field(
        description="What this token may do there.", examples=[["devices:read", "telemetry:read"]]
    )


class MeRead(AccountRead):
    """The signed-in user; the first organization is the default one."""

    is_superuser: bool = Field(
        description="Whether the user runs the whole station.", examples=[False]
    )
    organizations: list[StandingRead] = Field(
        description="Where the user is a member, and as what."
    )
