"""What a check found."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """A failure needs mending before the station can be relied on; a warning deserves a look."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding; ``advice`` says what to do unless all is well."""

    name: str
    verdict: Verdict
    detail: str
    advice: str | None = None


def ok(name: str, detail: str) -> Check:
    return Check(name, Verdict.OK, detail)


def warning(name: str, detail: str, advice: str) -> Check:
    return Check(name, Verdict.WARNING, detail, advice)


def failure(name: str, detail: str, advice: str) -> Check:
    return Check(name, Verdict.FAILURE, detail, advice)


def has_failure(checks: Iterable[Check]) -> bool:
    return any(check.verdict is Verdict.FAILURE for check in checks)
