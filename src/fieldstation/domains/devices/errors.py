"""What is wrong with a group of devices."""

from fieldstation.core.errors import Conflict, Invalid, NotFound

NO_GROUP = "There is no such device group."
UNKNOWN_NAMED_MAX = 20


def no_such_group() -> NotFound:
    return NotFound(NO_GROUP)


def no_such_member() -> NotFound:
    return NotFound("The device is not a member of this group.")


def name_taken() -> Conflict:
    return Conflict(
        "Another group of the organization has this name, whatever its case; choose another.",
        code="name_taken",
    )


def too_many_groups(most: int) -> Conflict:
    return Conflict(
        f"The organization has {most} device groups already; delete one first.", code="too_many"
    )


def too_many_members(most: int) -> Conflict:
    return Conflict(
        f"The group lists {most} devices already; remove one first, or tag them and use a "
        "tag_expression.",
        code="too_many",
    )


def follows_tags() -> Conflict:
    return Conflict(
        "This group's members are the devices whose tags fit its tag_expression; change the "
        "device's tags, or give the group device_ids.",
        code="group_follows_tags",
    )


def group_in_use() -> Conflict:
    return Conflict(
        "Something, such as a retention rule, is still for this group; change that first.",
        code="group_in_use",
    )


def unknown_devices(device_ids: list[str]) -> Invalid:
    """Name some of the ids in a body that are no devices of the organization."""
    return Invalid(
        f"device_ids: this organization has no device {device_ids[0]}"
        + (f", nor {len(device_ids) - 1} others of those listed." if device_ids[1:] else "."),
        code="unknown_reference",
        errors=[
            {"loc": ["body", "device_ids"], "msg": f"no device {unknown}", "type": "reference"}
            for unknown in device_ids[:UNKNOWN_NAMED_MAX]
        ],
    )
