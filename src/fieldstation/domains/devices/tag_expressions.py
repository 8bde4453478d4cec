"""Reads tag expressions, such as ``site:lab AND NOT (retired OR test)``."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

CHARACTERS_MAX = 1_000
TAGS_MAX = 50
DEPTH_MAX = 16
"""How many ``NOT`` and parentheses may stand within each other."""

TAG = r"[A-Za-z0-9][A-Za-z0-9_.:/-]{0,49}"
TOKEN = re.compile(rf'[()]|{TAG}(?![A-Za-z0-9_.:/-])|"{TAG}"')
SPACES = re.compile(r"\s*")
OPERATORS = frozenset({"AND", "OR", "NOT"})
END = ""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Tag:
    """Holds for what has the tag."""

    tag: str


@dataclass(frozen=True, slots=True)
class Not:
    """Holds where the other does not."""

    other: "Expression"


@dataclass(frozen=True, slots=True)
class Every:
    """Holds where all parts do."""

    parts: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class Some:
    """Holds where at least one part does."""

    parts: tuple["Expression", ...]


Expression = Tag | Not | Every | Some


def parse_expression(text: str) -> Expression:
    """Read an expression: tags, ``NOT`` before ``AND`` before ``OR``, and parentheses.

    Operators are read in any case; a tag that is spelled like one stands in double quotes.
    Raises ``ValueError``, which says at which character.
    """
    if len(text) > CHARACTERS_MAX:
        raise ValueError(f"at most {CHARACTERS_MAX} characters")
    reader = Reader(text)
    found = reader.some(depth=0)
    if reader.sign != END:
        raise reader.expected("AND, OR or the end")
    return found


def evaluate(
    expression: Expression,
    *,
    tag: Callable[[str], T],
    negate: Callable[[T], T],
    every: Callable[[Sequence[T]], T],
    some: Callable[[Sequence[T]], T],
) -> T:
    """Work an expression out in any algebra: truths, sets of devices, conditions of a statement."""

    def of(part: Expression) -> T:
        if isinstance(part, Tag):
            return tag(part.tag)
        if isinstance(part, Not):
            return negate(of(part.other))
        join = every if isinstance(part, Every) else some
        return join([of(inner) for inner in part.parts])

    return of(expression)


def tags_in(expression: Expression) -> frozenset[str]:
    """Return the tags that an expression names."""
    return evaluate(
        expression,
        tag=lambda tag: frozenset({tag}),
        negate=lambda tags: tags,
        every=lambda parts: frozenset().union(*parts),
        some=lambda parts: frozenset().union(*parts),
    )


class Reader:
    """Goes through the signs of a text from left to right."""

    def __init__(self, text: str) -> None:
        self._signs = signs_of(text)
        self._tags = 0
        self._at, self._text = next(self._signs)

    @property
    def sign(self) -> str:
        """Return the sign that comes next: a parenthesis, an operator, a tag, or the end."""
        upper = self._text.upper()
        return upper if upper in OPERATORS else self._text

    def some(self, depth: int) -> Expression:
        parts = [self.every(depth)]
        while self.sign == "OR":
            self.advance()
            parts.append(self.every(depth))
        return parts[0] if len(parts) == 1 else Some(tuple(parts))

    def every(self, depth: int) -> Expression:
        parts = [self.one(depth)]
        while self.sign == "AND":
            self.advance()
            parts.append(self.one(depth))
        return parts[0] if len(parts) == 1 else Every(tuple(parts))

    def one(self, depth: int) -> Expression:
        if depth > DEPTH_MAX:
            raise self.fault(f"NOT and parentheses are at most {DEPTH_MAX} deep")
        if self.sign == "NOT":
            self.advance()
            return Not(self.one(depth + 1))
        if self.sign == "(":
            self.advance()
            inner = self.some(depth + 1)
            if self.sign != ")":
                raise self.expected("AND, OR or )")
            self.advance()
            return inner
        return self.tag()

    def tag(self) -> Tag:
        if self.sign in OPERATORS or self.sign in {END, ")"}:
            raise self.expected("a tag, NOT or (")
        if self._tags == TAGS_MAX:
            raise self.fault(f"an expression names at most {TAGS_MAX} tags")
        self._tags += 1
        found = Tag(self._text.strip('"'))
        self.advance()
        return found

    def advance(self) -> None:
        self._at, self._text = next(self._signs)

    def expected(self, what: str) -> ValueError:
        return self.fault(f"{what} is expected here")

    def fault(self, what: str) -> ValueError:
        return ValueError(f"character {self._at + 1}: {what}")


def signs_of(text: str) -> Iterator[tuple[int, str]]:
    """Yield where each sign begins and what it is, then the end."""
    at = 0
    while (at := skip_spaces(text, at)) < len(text):
        found = TOKEN.match(text, at)
        if found is None:
            raise ValueError(
                f"character {at + 1}: neither a tag (letters, digits and _ . : / -, at most 50) "
                "nor AND, OR, NOT or a parenthesis"
            )
        yield at, found[0]
        at = found.end()
    yield at, END


def skip_spaces(text: str, at: int) -> int:
    found = SPACES.match(text, at)
    return at if found is None else found.end()
