"""What the broker keeps for later subscribers."""

from dataclasses import dataclass

TOPIC_BYTES_MAX = 512


@dataclass(frozen=True, slots=True)
class Retained:
    """A topic's retained message; an empty payload deletes it."""

    organization_id: str
    topic: str
    payload: bytes
    qos: int
