"""Judges the schema of a database by its revision."""

from collections.abc import Sequence

from fieldstation.adapters.diagnosis.report import Check, failure, ok, warning


def judge_revision(target: str, revision: str | None, revisions: Sequence[str]) -> Check:
    """Compare a database's revision with those that this version knows, oldest first."""
    name = f"{target} schema"
    if revision == revisions[-1]:
        return ok(name, f"{revision}, the newest")
    if revision is not None and revision not in revisions:
        return failure(
            name,
            f"{revision} is not known to this version",
            "Install the version of Fieldstation that the database is from, or a newer one.",
        )
    missing = list(revisions) if revision is None else revisions[revisions.index(revision) + 1 :]
    return warning(
        name,
        f"{revision or 'No table'}; missing: {', '.join(missing)}",
        "Bring it up to date: fieldstation migrate (serve does so as well)",
    )
