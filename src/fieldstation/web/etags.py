"""ETag and If-Match: nobody overwrites a change that they have not seen."""

import hashlib
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Depends, Header, Response
from pydantic import BaseModel

from fieldstation.core.errors import PreconditionFailed

IGNORED = "etag_ignores"
"""Class variable of a model: the fields that change without anybody changing the object."""
TAG_CHARACTERS = 32
TAG = f'"[0-9a-f]{{{TAG_CHARACTERS}}}"'
IF_MATCH_CHARACTERS_MAX = 2_000

Shown = TypeVar("Shown", bound=BaseModel)


def etag_of(shown: BaseModel) -> str:
    """Return the tag of an object as it is shown."""
    content = shown.model_dump_json(exclude=set(getattr(type(shown), IGNORED, ())))
    return f'"{hashlib.sha256(content.encode()).hexdigest()[:TAG_CHARACTERS]}"'


@dataclass(frozen=True, slots=True)
class Expected:
    """What the caller saw last, if they said so."""

    tags: frozenset[str] | None = None

    def demand(self, current: BaseModel) -> None:
        """Return if the object is still what the caller saw. Raises ``PreconditionFailed``."""
        if self.tags is not None and not self.tags & {"*", etag_of(current)}:
            raise PreconditionFailed(
                "This was changed since it was read; read it again and repeat the change."
            )


async def expected(
    if_match: Annotated[
        str | None,
        Header(
            max_length=IF_MATCH_CHARACTERS_MAX,
            description="The `ETag` that was read; 412 when the object changed since.",
            examples=['"5f2c0a9d1e7b4c3f8a6d2e1b0c9f8e7d"'],
            json_schema_extra={"pattern": rf"^(\*|{TAG}(, {TAG})*)$"},
        ),
    ] = None,
) -> Expected:
    if if_match is None:
        return Expected()
    return Expected(frozenset(tag.strip() for tag in if_match.split(",")))


class Tagging:
    """Puts the tag of what is answered into its header."""

    def __init__(self, response: Response) -> None:
        self._response = response

    def __call__(self, shown: Shown) -> Shown:
        self._response.headers["etag"] = etag_of(shown)
        return shown


async def tagging(response: Response) -> Tagging:
    return Tagging(response)


IfMatch = Annotated[Expected, Depends(expected)]
Tagged = Annotated[Tagging, Depends(tagging)]
ANY = Expected()
