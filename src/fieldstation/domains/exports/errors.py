"""What is wrong with an export."""

from fieldstation.core.errors import DISK_FULL, Busy, Conflict, Invalid, NotFound, TooManyRequests

NO_EXPORT = "There is no such export in this organization."


def no_such_export() -> NotFound:
    return NotFound(NO_EXPORT)


def not_finished(status: str) -> Conflict:
    return Conflict(
        f"The export is {status}; download it once its status is finished.",
        code="export_not_finished",
    )


def too_many_exports(most: int) -> TooManyRequests:
    return TooManyRequests(
        f"The organization has {most} exports; delete one, or wait until one expires.",
        retry_after_s=60,
        code="too_many_exports",
    )


def too_many_streams() -> Busy:
    return Busy(
        "As many exports as this node sends at a time are under way; try again in a moment, or "
        "ask for a job with wait=false.",
        retry_after_s=5,
        code="too_many_streams",
    )


def disk_full() -> Busy:
    return Busy("The disk for exports is full; free some space.", retry_after_s=10, code=DISK_FULL)


def format_not_installed(name: str, *, extra: str) -> Invalid:
    return Invalid(
        f"This station cannot write {name}: install it as fieldstation[{extra}], or choose "
        "another format.",
        code="format_not_installed",
        errors=[{"loc": ["body", "format"], "msg": f"needs the extra {extra}", "type": "extra"}],
    )


def unknown_device(device_id: str) -> Invalid:
    return Invalid(
        f"device_ids: this organization has no device {device_id[:36]} and no readings of one.",
        code="unknown_reference",
        errors=[{"loc": ["body", "device_ids"], "msg": "unknown", "type": "reference"}],
    )


def empty_period() -> Invalid:
    return Invalid(
        "end: must be later than start.",
        errors=[{"loc": ["body", "end"], "msg": "not later than start", "type": "period"}],
    )
