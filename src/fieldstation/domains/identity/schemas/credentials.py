"""The API's shapes of logins, tokens, keys and tickets."""

from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    model_validator,
)

from fieldstation.domains.identity.schemas.callers import USER_SCOPES
from fieldstation.web.docs.examples import examples
from fieldstation.web.instants import Instant

PASSWORD_CHARACTERS_MIN = 10
PASSWORD_CHARACTERS_MAX = 256
API_KEY_SCOPES_MAX = 50
LOGIN_CHARACTERS_MAX = 254
TOKEN_CHARACTERS_MAX = 200
SCOPE_NAMES = "|".join(sorted(USER_SCOPES))
PRINTABLE_PATTERN = r"^[^\x00-\x1f\x7f]*$"


def exactly_one(*names: str) -> dict[str, Any]:
    """Return the part of a JSON schema that asks for one of several fields; the others are null."""
    return {
        "oneOf": [
            {
                "required": [name],
                "properties": {
                    other: {"type": "string" if other == name else "null"} for other in names
                },
            }
            for name in names
        ]
    }


class Input(BaseModel):
    """A request body: nothing that is not declared."""

    model_config = ConfigDict(extra="forbid")


class Output(BaseModel):
    """A response body, read from a row."""

    model_config = ConfigDict(from_attributes=True)


GivenPassword = Annotated[
    SecretStr,
    Field(
        max_length=PASSWORD_CHARACTERS_MAX,
        description="At least 10 characters and not a common password.",
        examples=["barefoot-otter-41-lamp"],
        json_schema_extra={"minLength": PASSWORD_CHARACTERS_MIN},
    ),
]


class LoginRequest(Input):
    """Who logs in: an e-mail address or a username, and the password."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra=examples(
            by_email={"email": "ada@example.org", "password": "barefoot-otter-41-lamp"},
            by_username={"username": "ada", "password": "barefoot-otter-41-lamp"},
            email_as_username={"username": "ada@example.org", "password": "barefoot-otter-41-lamp"},
        )
        | exactly_one("email", "username"),
    )

    email: str | None = Field(
        default=None,
        max_length=LOGIN_CHARACTERS_MAX,
        description="The account's e-mail address, in any case.",
        examples=["ada@example.org"],
    )
    username: str | None = Field(
        default=None,
        max_length=LOGIN_CHARACTERS_MAX,
        description="The account's username, instead of the e-mail address.",
        examples=["ada"],
    )
    password: SecretStr = Field(
        max_length=PASSWORD_CHARACTERS_MAX,
        description="The account's password.",
        examples=["barefoot-otter-41-lamp"],
    )

    @model_validator(mode="after")
    def one_name(self) -> "LoginRequest":
        if (self.email is None) == (self.username is None):
            raise ValueError("give either email or username")
        return self

    @property
    def login(self) -> str:
        """Return the name that was given."""
        return self.email if self.email is not None else self.username or ""


class TokenForm(Input):
    """The form of OAuth2's password grant."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra=examples(
            by_username={
                "grant_type": "password",
                "username": "ada",
                "password": "barefoot-otter-41-lamp",
            },
            by_email={"username": "ada@example.org", "password": "barefoot-otter-41-lamp"},
            narrowed={
                "username": "ada",
                "password": "barefoot-otter-41-lamp",
                "scope": "devices:read telemetry:read",
            },
        ),
    )

    grant_type: Literal["password"] = Field(
        default="password", description="Always `password`.", examples=["password"]
    )
    username: str = Field(
        min_length=1,
        max_length=LOGIN_CHARACTERS_MAX,
        description="Username or e-mail address.",
        examples=["ada"],
    )
    password: SecretStr = Field(
        min_length=1,
        max_length=PASSWORD_CHARACTERS_MAX,
        description="The account's password.",
        examples=["barefoot-otter-41-lamp"],
    )
    scope: str = Field(
        default="",
        max_length=1000,
        description="Narrow the tokens to these scopes, separated by spaces; all, if empty.",
        examples=["devices:read telemetry:read"],
        json_schema_extra={"pattern": f"^(({SCOPE_NAMES})( ({SCOPE_NAMES}))*)?$"},
    )
    client_id: str | None = Field(
        default=None, max_length=200, description="Not used.", examples=["notebook"]
    )
    client_secret: SecretStr | None = Field(
        default=None, max_length=200, description="Not used.", examples=["-"]
    )


class RefreshRequest(Input):
    """The refresh token to exchange; a browser leaves it out and sends its cookie."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra=examples(
            with_the_token={"refresh_token": "8yXw3mJv2bqf0C7o1rS4tUuVwXyZ0123456789abcde"},
            from_the_cookie={"refresh_token": None},
            empty={},
        ),
    )

    refresh_token: str | None = Field(
        default=None,
        max_length=TOKEN_CHARACTERS_MAX,
        description="The newest refresh token of the session.",
        examples=["8yXw3mJv2bqf0C7o1rS4tUuVwXyZ0123456789abcde"],
    )


class TokensRead(Output):
    """A session's tokens; the refresh token is good for one exchange."""

    access_token: str = Field(
        description="JWT for the Authorization header.", examples=["eyJhbGciOiJIUzI1NiIs…"]
    )
    refresh_token: str = Field(
        description="Exchange it for new tokens, once.",
        examples=["8yXw3mJv2bqf0C7o1rS4tUuVwXyZ0123456789abcde"],
    )
    token_type: str = Field(
        default="bearer", description="How to send the access token.", examples=["bearer"]
    )
    expires_in: int = Field(description="Seconds until the access token expires.", examples=[1800])
    scope: str | None = Field(
        default=None,
        description="What the tokens are narrowed to, separated by spaces; absent if they are not.",
        examples=["devices:read telemetry:read"],
    )


class PasswordChange(Input):
    """A new password, with the old one as proof."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra=examples(
            words={
                "current_password": "barefoot-otter-41-lamp",
                "new_password": "seven-quiet-anvils-drift",
            },
            signs={
                "current_password": "seven-quiet-anvils-drift",
                "new_password": "K9!vulcan-tarn-pod",
            },
            a_sentence={
                "current_password": "K9!vulcan-tarn-pod",
                "new_password": "rain over the north shed",
            },
        ),
    )

    current_password: SecretStr = Field(
        max_length=PASSWORD_CHARACTERS_MAX,
        description="The password as it is now.",
        examples=["barefoot-otter-41-lamp"],
    )
    new_password: GivenPassword


class TicketRead(Output):
    """A ticket for `?ticket=` of a WebSocket."""

    ticket: str = Field(
        description="Opens one socket.", examples=["xK3v9QmJv2bqf0C7o1rS4tUuVwXyZ0123456789abcd"]
    )
    expires_in: int = Field(description="Seconds until it expires unused.", examples=[30])


class ApiKeyCreate(Input):
    """A personal key, for scripts and programs that act in the user's name."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra=examples(
            for_node_red={"name": "Node-RED", "scopes": ["telemetry:read", "telemetry:write"]},
            with_an_end={
                "name": "nightly report",
                "scopes": ["devices:read", "telemetry:read"],
                "expires_at": "2027-01-01T00:00:00Z",
            },
            without_an_end={"name": "dashboard", "scopes": ["devices:read"], "expires_at": None},
        ),
    )

    name: str = Field(
        min_length=1,
        max_length=100,
        pattern=PRINTABLE_PATTERN,
        description="What the key is for.",
        examples=["Node-RED"],
    )
    scopes: list[
        Annotated[str, Field(max_length=50, json_schema_extra={"enum": sorted(USER_SCOPES)})]
    ] = Field(
        min_length=1,
        max_length=API_KEY_SCOPES_MAX,
        description="What the key may do; each must be one of your own scopes.",
        examples=[["telemetry:read", "telemetry:write"]],
    )
    expires_at: Instant | None = Field(
        default=None,
        description="When the key ends by itself; never, if absent.",
        examples=["2027-01-01T00:00:00Z"],
    )


class ApiKeyRead(Output):
    """A key as lists show it: without its secret."""

    etag_ignores: ClassVar[frozenset[str]] = frozenset({"last_used_at", "api_key"})

    id: str = Field(description="The key's id.", examples=["0198c0de-7a3b-7c11-9b51-3f5a6f2f6a10"])
    name: str = Field(description="What the key is for.", examples=["Node-RED"])
    prefix: str = Field(
        description="How the secret begins, to tell keys apart.", examples=["fsu_8yXw3m"]
    )
    scopes: list[str] = Field(
        description="What the key may do.", examples=[["telemetry:read", "telemetry:write"]]
    )
    created_at: datetime = Field(
        description="When the key was made.", examples=["2026-11-22T08:00:00Z"]
    )
    expires_at: datetime | None = Field(
        description="When the key ends by itself; null: never.", examples=["2027-01-01T00:00:00Z"]
    )
    last_used_at: datetime | None = Field(
        description="When the key was last used, to about a minute; null: not yet.",
        examples=["2026-11-22T09:30:00Z"],
    )


class ApiKeyIssued(ApiKeyRead):
    """A new key with its secret, which is shown this once."""

    api_key: str | None = Field(
        description="The secret; keep it, it is not shown again: null in a repeated answer.",
        examples=["fsu_8yXw3mJv2bqf0C7o1rS4tUuVwXyZ0123456789abcde"],
    )
