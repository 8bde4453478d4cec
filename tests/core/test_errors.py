"""Error kinds carry a sentence, a code and what a client may use."""

import pytest

from fieldstation.core import errors

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.StationError)
]


def test_each_kind_has_a_code_of_its_own() -> None:
    codes = [kind.default_code for kind in KINDS]
    assert len(set(codes)) == len(codes) == 14


@pytest.mark.parametrize("kind", [errors.TooManyRequests, errors.Busy])
def test_a_refusal_for_now_says_when_to_come_back(
    kind: type[errors.TooManyRequests | errors.Busy],
) -> None:
    error = kind("Later.", retry_after_s=7)
    assert error.retry_after_s == 7
    assert error.members == {"retry_after": 7}
    assert str(error) == error.detail == "Later."


def test_an_own_code_replaces_the_kind_s() -> None:
    assert errors.Conflict("Taken.", code="name_taken").code == "name_taken"
    assert errors.Conflict("Taken.").code == "conflict"


def test_members_and_errors_are_copies() -> None:
    member, error = {"accepted": 0}, {"loc": ["body"], "msg": "no", "type": "x"}
    invalid = errors.Invalid("No.", errors=[error], members=member)
    member["accepted"], error["msg"] = 1, "changed"
    assert invalid.members == {"accepted": 0}
    assert invalid.errors[0]["msg"] == "no"


def test_a_missing_scope_is_named() -> None:
    assert errors.Forbidden("No.", scope="devices:write").scope == "devices:write"
    assert errors.Forbidden("No.").scope is None
