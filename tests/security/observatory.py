"""The rules of Mozilla's HTTP Observatory (version 2) that apply to one answer, as scores.

Source: mdn/mdn-http-observatory, src/grader/charts.js and src/analyzer. A site starts at 100; bonus
points count from 90 on; 100 and more is an A+.
"""

from collections.abc import Mapping, Sequence

SIX_MONTHS_S = 15_768_000
EXTRA_CREDIT_FROM = 90
PRIVATE = {"no-referrer", "same-origin", "strict-origin", "strict-origin-when-cross-origin"}
Policy = dict[str, list[str]]


def score(headers: Mapping[str, str], *, cookies: Sequence[str] = ()) -> int:
    """Return the score of an answer's headers (in lower case) and Set-Cookie lines."""
    policy = parse_policy(headers.get("content-security-policy", ""))
    modifiers = [
        content_policy(policy),
        transport(headers.get("strict-transport-security", "")),
        0 if headers.get("x-content-type-options") == "nosniff" else -5,
        framing(policy, headers.get("x-frame-options", "")),
        5 if headers.get("referrer-policy") in PRIVATE else 0,
        10 if headers.get("cross-origin-resource-policy") in {"same-origin", "same-site"} else 0,
        sharing(headers),
        cookie(cookies, headers.get("strict-transport-security")),
    ]
    base = 100 + sum(part for part in modifiers if part < 0)
    return base + sum(part for part in modifiers if part > 0 and base >= EXTRA_CREDIT_FROM)


def parse_policy(text: str) -> Policy:
    directives = [part.split() for part in text.split(";") if part.strip()]
    return {name.lower(): [value.lower() for value in values] for name, *values in directives}


def content_policy(policy: Policy) -> int:
    if not policy:
        return -25
    default = policy.get("default-src", ["*"])
    scripts, styles = policy.get("script-src", default), policy.get("style-src", default)
    objects = policy.get("object-src", default)
    broad = {"*", "https:", "http:", "data:", "'unsafe-inline'"}
    if broad & {*scripts, *objects}:
        return -20
    if "'unsafe-eval'" in scripts:
        return -10
    if broad & set(styles) or not policy.get("form-action"):
        return 0
    return 10 if default == ["'none'"] else 5


def transport(header: str) -> int:
    ages = [part.strip()[8:] for part in header.split(";") if part.strip().startswith("max-age=")]
    if not ages:
        return -20
    return 0 if int(ages[0]) >= SIX_MONTHS_S else -10


def framing(policy: Policy, header: str) -> int:
    if policy.get("frame-ancestors") in (["'none'"], ["'self'"]):
        return 5
    return 0 if header.upper() in {"DENY", "SAMEORIGIN"} else -20


def sharing(headers: Mapping[str, str]) -> int:
    everybody = headers.get("access-control-allow-origin") == "*"
    return -50 if everybody and "access-control-allow-credentials" in headers else 0


def cookie(lines: Sequence[str], hsts: str | None) -> int:
    if not lines:
        return 0
    parts = [{part.strip().lower() for part in line.split(";")[1:]} for line in lines]
    if not all("httponly" in found for found in parts):
        return -30
    if not all("secure" in found for found in parts):
        return -10 if hsts else -40
    return 5 if all({"samesite=lax", "samesite=strict"} & found for found in parts) else 0
