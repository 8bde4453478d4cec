"""``env.example`` and the settings model name the same variables, defaults and aliases."""

import re
from pathlib import Path

import pytest

from fieldstation.core.settings import names_by_field, read_settings
from tests.core.test_settings import value_of

FILE = Path(__file__).parents[2] / "env.example"
VARIABLE = re.compile(r"#?\s?([A-Z][A-Z0-9_]*)=(.*)")
ALIASES = re.compile(r"Also: ([A-Z0-9_, ]+)\.")


def entries() -> dict[str, tuple[str, str]]:
    """Return ``{name: (its default as written, the comment above)}``."""
    found: dict[str, tuple[str, str]] = {}
    comment: list[str] = []
    for line in FILE.read_text().splitlines():
        match = VARIABLE.fullmatch(line)
        if match:
            found[match[1]] = (match[2], " ".join(comment))
            comment = []
        elif line.startswith("# "):
            comment.append(line[2:])
        else:
            comment = []
    return found


def test_the_file_holds_every_canonical_name_and_nothing_else() -> None:
    assert list(entries()) == [names[0] for names in names_by_field().values()]


@pytest.mark.parametrize("path", list(names_by_field()))
def test_each_entry_says_what_it_is_and_names_its_aliases(path: str) -> None:
    canonical, *aliases = names_by_field()[path]
    _, comment = entries()[canonical]
    named = ALIASES.search(comment)
    assert len(comment) > 10
    assert ([] if named is None else named[1].split(", ")) == aliases


@pytest.mark.parametrize("path", list(names_by_field()))
def test_each_entry_shows_the_default(path: str) -> None:
    text = entries()[names_by_field()[path][0]][0]
    default = value_of(read_settings({}), path)
    if default is None or default == ():
        assert text == ""
    else:
        assert value_of(read_settings({names_by_field()[path][0]: text}), path) == default


def test_the_file_as_it_stands_changes_nothing() -> None:
    lines = [line for line in FILE.read_text().splitlines() if VARIABLE.fullmatch(line)]
    assert all(line.startswith("# ") for line in lines)
