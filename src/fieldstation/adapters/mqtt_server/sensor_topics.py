"""The topics that every device shares, and what is published on those of sensors."""

from collections.abc import Mapping
from typing import Any

import msgspec

from fieldstation.core.limits import JSON_DEPTH_MAX
from fieldstation.domains.telemetry.payloads import parse_json
from fieldstation.web.bodies import check_depth, count_containers

SENSORS = "sensors/"
SHARED_TOPICS = (SENSORS, "system/")
NODE_RED_STATUS = "nodered/status"


def is_shared(topic: str) -> bool:
    """Whether every device may use this topic; what it publishes there is still its own."""
    return topic.startswith(SHARED_TOPICS) or topic == NODE_RED_STATUS


def read_sensor_payload(payload: bytes, *, sensor_type: str, sensor_id: str) -> Mapping[str, Any]:
    """Read ``{"value": …}`` or a bare value of ``sensors/{type}/{id}``.

    Raises ``Malformed`` and ``TooLarge``.
    """
    content: Any
    try:
        content = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        content = parse_json(payload)
    if count_containers(payload) > JSON_DEPTH_MAX:
        check_depth(content)
    fields = dict(content) if isinstance(content, dict) else {"value": content}
    fields.pop("reading_type", None)
    return {**fields, "sensor_type": sensor_type, "sensor_id": sensor_id}
