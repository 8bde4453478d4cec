"""Tag expressions mean what they say, and whatever is none says where and why."""

from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstation.domains.devices.tag_expressions import (
    CHARACTERS_MAX,
    DEPTH_MAX,
    TAGS_MAX,
    Every,
    Expression,
    Not,
    Some,
    Tag,
    evaluate,
    parse_expression,
    tags_in,
)

OPERATORS = {"AND", "OR", "NOT"}
TAGS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.:/-]{0,49}", fullmatch=True) | st.sampled_from(
    ["and", "Or", "NOT", "android", "nothing", "or:1"]
)
FEW_TAGS = st.sampled_from(["a", "b", "c", "not"])
SPACES = st.sampled_from(["", " ", "\t", "\n  "])


def compound(parts: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    several = st.lists(parts, min_size=2, max_size=3).map(tuple)
    return st.builds(Not, parts) | st.builds(Every, several) | st.builds(Some, several)


def expressions(tags: st.SearchStrategy[str]) -> st.SearchStrategy[Expression]:
    return st.recursive(st.builds(Tag, tags), compound, max_leaves=6)


def written(expression: Expression) -> str:
    """Write an expression with every parenthesis that there could be."""
    if isinstance(expression, Tag):
        return f'"{expression.tag}"' if expression.tag.upper() in OPERATORS else expression.tag
    if isinstance(expression, Not):
        return f"NOT ({written(expression.other)})"
    word = " AND " if isinstance(expression, Every) else " OR "
    return word.join(f"({written(part)})" for part in expression.parts)


def holds(expression: Expression, tags: Collection[str]) -> bool:
    return evaluate(
        expression,
        tag=lambda tag: tag in tags,
        negate=lambda truth: not truth,
        every=all,
        some=any,
    )


def fits(text: str, *tags: str) -> bool:
    return holds(parse_expression(text), tags)


@given(expressions(TAGS))
def test_what_is_written_is_read(expression: Expression) -> None:
    assert parse_expression(written(expression)) == expression


@given(expressions(FEW_TAGS), st.sets(FEW_TAGS))
def test_it_holds_where_its_words_say_so(expression: Expression, tags: set[str]) -> None:
    def true(part: Expression) -> bool:
        if isinstance(part, Tag):
            return part.tag in tags
        if isinstance(part, Not):
            return not true(part.other)
        truths = [true(inner) for inner in part.parts]
        return False not in truths if isinstance(part, Every) else True in truths

    assert holds(parse_expression(written(expression)), tags) == true(expression)


@given(expressions(FEW_TAGS), st.sets(FEW_TAGS))
def test_the_tags_it_names_decide_it_alone(expression: Expression, tags: set[str]) -> None:
    assert holds(expression, tags) == holds(expression, tags & tags_in(expression))


@given(st.text(max_size=60) | st.text('ab()"ANDORT -:*', max_size=60), SPACES)
def test_any_text_is_an_expression_or_refused_with_a_place(text: str, space: str) -> None:
    try:
        found = parse_expression(space + text)
    except ValueError as error:
        assert str(error).startswith("character ")  # noqa: PT017 - it may also be valid
    else:
        assert parse_expression(written(found)) == found


def test_not_binds_before_and_and_that_before_or() -> None:
    assert fits("a OR b AND c", "a")
    assert not fits("(a OR b) AND c", "a")
    assert fits("NOT a AND b", "b")
    assert not fits("NOT a AND b", "a", "b")
    assert fits("NOT (a AND b)", "a")
    assert fits("site:lab AND NOT (retired OR test)", "site:lab", "wet")
    assert not fits("site:lab AND NOT (retired OR test)", "site:lab", "test")


def test_operators_have_any_case_tags_have_theirs() -> None:
    assert fits("a and not b oR c", "a")
    assert not fits("Lab", "lab")
    assert fits('"and"', "and")
    assert fits('"or" or "NOT"', "NOT")
    assert not fits('"and"', "AND")
    assert fits("android AND nothing", "android", "nothing")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "character 1: a tag, NOT or ( is expected here"),
        ("   ", "character 4: a tag, NOT or ("),
        ("a b", "character 3: AND, OR or the end"),
        ("a AND", "character 6: a tag, NOT or ("),
        ("AND a", "character 1: a tag, NOT or ("),
        ("a OR OR b", "character 6: a tag, NOT or ("),
        ("(a OR b", "character 8: AND, OR or )"),
        ("a OR b)", "character 7: AND, OR or the end"),
        ("()", "character 2: a tag, NOT or ("),
        ("a AND b*", "character 8: neither a tag"),
        ("a & b", "character 3: neither a tag"),
        ("-a", "character 1: neither a tag"),
        ("größe", "character 3: neither a tag"),
        ('"two words"', "character 1: neither a tag"),
        ('"a', "character 1: neither a tag"),
        ("a" * 51, "character 1: neither a tag"),
    ],
)
def test_a_refusal_says_where_and_what(text: str, said: str) -> None:
    with pytest.raises(ValueError, match="character") as refused:
        parse_expression(text)
    assert str(refused.value).startswith(said)


def test_expressions_are_bounded() -> None:
    for open_sign, close_sign in (("(", ")"), ("NOT ", "")):
        deepest = open_sign * DEPTH_MAX + "a" + close_sign * DEPTH_MAX
        assert tags_in(parse_expression(deepest)) == {"a"}
        with pytest.raises(ValueError, match=f"at most {DEPTH_MAX} deep"):
            parse_expression(f"{open_sign}{deepest}{close_sign}")
    most = " OR ".join(f"t{number}" for number in range(TAGS_MAX))
    assert len(tags_in(parse_expression(most))) == TAGS_MAX
    with pytest.raises(ValueError, match=f"at most {TAGS_MAX} tags"):
        parse_expression(f"{most} AND t0")
    padded = "a" + " " * (CHARACTERS_MAX - 1)
    assert parse_expression(padded) == Tag("a")
    with pytest.raises(ValueError, match=f"at most {CHARACTERS_MAX} characters"):
        parse_expression(padded + " ")
