"""``sort=field,-field``: the order of a list, and cursors that belong to it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fastapi import Query

from fieldstation.core.errors import Invalid
from fieldstation.db.keyset import SortField
from fieldstation.web.pagination import PageRequest, foreign_cursor

SORT_CHARACTERS_MAX = 200

Row = TypeVar("Row")


def sort_query(*fields: str) -> Any:
    """Declare the ``sort`` of a list; ``parse_sort`` is what refuses."""
    either = "|".join(fields)
    once = rf"(?!.*\b({either})\b.*\b\1\b)"
    named = ", ".join(f"`{name}`" for name in fields)
    return Query(
        max_length=SORT_CHARACTERS_MAX,
        description=f"By {named}, each at most once, with commas; `-` in front descends.",
        examples=[f"{fields[-1]},-{fields[0]}"],
        json_schema_extra={"pattern": f"^{once}-?({either})(,-?({either}))*$"},
    )


@dataclass(frozen=True, slots=True)
class Order(Generic[Row]):
    """Fields in their order, True for descending; the id decides between equals."""

    fields: tuple[tuple[str, bool], ...]
    sortable: Mapping[str, SortField[Row]]

    def __str__(self) -> str:
        return ",".join(f"-{name}" if descending else name for name, descending in self.fields)

    def after(self, page: PageRequest) -> tuple[Any, ...] | None:
        """Return the sort key that a page begins behind.

        Raises ``Invalid`` for a cursor of another list or another order.
        """
        wanted = [self.sortable[name].type for name, _ in self.fields]
        found = page.after(str, *wanted, str)
        if found is None:
            return None
        if found[0] != str(self):
            raise foreign_cursor()
        return found[1:]

    def key(self, row: Row, row_id: str) -> tuple[Any, ...]:
        """Return the sort key of a row, for the next cursor."""
        return (str(self), *(self.sortable[name].value(row) for name, _ in self.fields), row_id)


def parse_sort(
    text: str | None, *, sortable: Mapping[str, SortField[Row]], default: str
) -> Order[Row]:
    """Read ``field,-field``. Raises ``Invalid`` for a field that the list is not sorted by."""
    fields: dict[str, bool] = {}
    for part in (default if text is None else text).split(","):
        name = part.strip().removeprefix("-")
        if name not in sortable or name in fields:
            raise foreign_order(sortable)
        fields[name] = part.strip().startswith("-")
    return Order(tuple(fields.items()), sortable)


def foreign_order(fields: Iterable[str]) -> Invalid:
    return Invalid(
        f"sort: takes each of {', '.join(sorted(fields))} once, with - for descending.",
        code="invalid_sort",
        errors=[{"loc": ["query", "sort"], "msg": "not a field to sort by", "type": "sort"}],
    )
