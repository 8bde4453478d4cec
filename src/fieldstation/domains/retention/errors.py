"""What is wrong with a list of rules."""

from fieldstation.core.errors import Conflict, Invalid


def duplicate_rule(first: int, second: int, *, sensor_type: str | None) -> Invalid:
    what = "all types" if sensor_type is None else f"type {sensor_type}"
    return Invalid(
        f"rules: numbers {first} and {second} are for the same devices and {what}; keep one.",
        code="duplicate_rule",
        errors=[{"loc": ["body", "rules", second], "msg": "given twice", "type": "duplicate"}],
    )


def unknown_group(number: int, group_id: str) -> Invalid:
    return Invalid(
        f"rules: number {number} names a device group {group_id[:36]} that is not in this "
        "organization.",
        code="unknown_reference",
        errors=[
            {"loc": ["body", "rules", number, "group_id"], "msg": "unknown", "type": "reference"}
        ],
    )


def group_gone() -> Conflict:
    return Conflict("A device group of these rules was deleted just now; read the groups again.")
