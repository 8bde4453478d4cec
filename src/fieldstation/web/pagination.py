"""Cursor pages: stable under inserts, opaque to clients."""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from fastapi import Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from fieldstation.core.errors import Invalid
from fieldstation.core.limits import PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX

CURSOR_CHARACTERS_MAX = 2_000
CURSOR_PATTERN = "^[A-Za-z0-9_-]+$"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which page a caller wants."""

    limit: int
    cursor: str | None
    include_total: bool = False

    def after(self, *types: type) -> tuple[Any, ...] | None:
        """Return the cursor's sort key, or ``None`` for the first page.

        Raises ``Invalid`` for a foreign cursor.
        """
        return None if self.cursor is None else decode_cursor(self.cursor, *types)


async def page_request(
    limit: Annotated[
        int, Query(ge=1, le=PAGE_ITEMS_MAX, description="Items on this page.")
    ] = PAGE_ITEMS_DEFAULT,
    cursor: Annotated[
        str | None,
        Query(
            max_length=CURSOR_CHARACTERS_MAX,
            description="`next_cursor` of the page before.",
            examples=["WyIwMTk4YzBkZSJd"],
            json_schema_extra={"pattern": CURSOR_PATTERN},
        ),
    ] = None,
    include_total: Annotated[
        bool,
        Query(description="Also count all items; costs a scan of the list.", examples=[True]),
    ] = False,
) -> PageRequest:
    return PageRequest(limit=limit, cursor=cursor, include_total=include_total)


Page = Annotated[PageRequest, Depends(page_request)]


class Listed(BaseModel, Generic[T]):
    """One page of a list."""

    model_config = ConfigDict(json_schema_extra={"description": "One page of a list."})

    items: list[T] = Field(description="The items of this page.")
    next_cursor: str | None = Field(
        default=None,
        description="Pass as `cursor` for the next page; null on the last.",
        examples=[None],
    )
    total: int | None = Field(
        default=None, description="Only with `include_total=true`.", examples=[None]
    )


def cut_page(
    rows: Sequence[T], page: PageRequest, key: Callable[[T], tuple[Any, ...]]
) -> tuple[list[T], str | None]:
    """Cut rows that were fetched with ``limit + 1`` into a page and the cursor of the next one."""
    if len(rows) <= page.limit:
        return list(rows), None
    kept = list(rows[: page.limit])
    return kept, encode_cursor(*key(kept[-1]))


def encode_cursor(*key: Any) -> str:
    """Encode a sort key as an opaque string."""
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).rstrip(b"=").decode()


def decode_cursor(cursor: str, *types: type) -> tuple[Any, ...]:
    """Read a sort key back, checking its types. Raises ``Invalid``."""
    padded = cursor + "=" * (-len(cursor) % 4)
    try:
        found = msgspec.json.decode(base64.urlsafe_b64decode(padded.encode()), type=list[Any])
    except (ValueError, msgspec.DecodeError) as error:
        raise foreign_cursor() from error
    if len(found) != len(types) or not all(map(fits, found, types)):
        raise foreign_cursor()
    return tuple(found)


def fits(part: Any, wanted: type) -> bool:
    """Tell whether a part of a key is of exactly this type and no larger than a database's."""
    if type(part) is not wanted:
        return False
    return not isinstance(part, int) or -(1 << 63) <= part < 1 << 63


def foreign_cursor() -> Invalid:
    return Invalid(
        "cursor: not a cursor of this list; take next_cursor of the page before.",
        code="invalid_cursor",
        errors=[{"loc": ["query", "cursor"], "msg": "not a cursor of this list", "type": "cursor"}],
    )
