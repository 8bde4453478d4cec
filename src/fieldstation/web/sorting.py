"""``sort=field,-field``: the order of a list, and cursors that belong to it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fieldstation.core.errors import Invalid
from fieldstation.web.pagination import PageRequest, foreign_cursor

SORT_CHARACTERS_MAX = 200


@dataclass(frozen=True, slots=True)
class Order:
    """Fields in their order, True for descending; the id decides between equals."""

    fields: tuple[tuple[str, bool], ...]

    def __str__(self) -> str:
        return ",".join(f"-{name}" if descending else name for name, descending in self.fields)

    def after(self, page: PageRequest, types: Mapping[str, type]) -> tuple[Any, ...] | None:
        """Return the sort key that a page begins behind.

        Raises ``Invalid`` for a cursor of another list or another order.
        """
        wanted = [types[name] for name, _ in self.fields]
        found = page.after(str, *wanted, str)
        if found is None:
            return None
        if found[0] != str(self):
            raise foreign_cursor()
        return found[1:]

    def key(self, values: Mapping[str, Any], row_id: str) -> tuple[Any, ...]:
        """Return the sort key of a row, for the next cursor."""
        return (str(self), *(values[name] for name, _ in self.fields), row_id)


def parse_sort(text: str | None, *, allowed: Mapping[str, type], default: str) -> Order:
    """Read ``field,-field``. Raises ``Invalid`` for a field that the list is not sorted by."""
    fields: dict[str, bool] = {}
    for part in (text or default).split(","):
        name = part.strip().removeprefix("-")
        if name not in allowed or name in fields:
            raise Invalid(
                f"sort: takes each of {', '.join(sorted(allowed))} once, with - for descending.",
                code="invalid_sort",
                errors=[
                    {"loc": ["query", "sort"], "msg": "not a field to sort by", "type": "sort"}
                ],
            )
        fields[name] = part.strip().startswith("-")
    return Order(tuple(fields.items()))
