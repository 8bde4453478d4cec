"""Reads what devices send: JSON, MessagePack and CBOR bodies into ``Incoming`` readings, the
unreadable ones told apart one by one."""

import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from io import BytesIO
from typing import Any, NamedTuple

import cbor2
import msgspec

from fieldstation.core.clock import us_to_rfc3339
from fieldstation.core.errors import Invalid, Malformed, TooLarge
from fieldstation.core.limits import JSON_CONTAINERS_MAX, JSON_DEPTH_MAX
from fieldstation.domains.telemetry.schemas import (
    METADATA_BYTES_MAX,
    SENSOR_TYPE_CHARACTERS_MAX,
    TEXT_BYTES_MAX,
)
from fieldstation.web.bodies import (
    check_depth,
    check_marks,
    count_containers,
    depth_of,
    is_storable,
    texts_of,
    too_deep,
    too_many_values,
)

LABEL_CHARACTERS_MAX = 20
SENSOR_ID_CHARACTERS_MAX = 100
EARLIEST_US = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
AHEAD_US_MAX = 86_400 * 1_000_000
REFUSED_TAGS = (25, 28, 29, 35, 36)
"""References to texts and values, which say more than a body holds, and what is parsed further."""

Value = bool | float | str
Time = int | float | str | None


class Incoming(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One reading as a device writes it; ``reading_type`` is another name of ``sensor_type``."""

    value: Value
    sensor_type: str | None = None
    reading_type: str | None = None
    sensor_id: str | None = None
    unit: str | None = None
    timestamp: Time = None
    origin: str | None = None
    metadata: dict[str, Any] | None = None


class Envelope(msgspec.Struct, forbid_unknown_fields=True):
    """The wrapped form."""

    readings: list[Incoming]


class Rejection(NamedTuple):
    """Why one reading of a body was not taken."""

    index: int
    error: str
    detail: str


class Decoded(NamedTuple):
    """The readable readings of a body with their positions (``None``: 0, 1, 2 …), and the rejected
    ones."""

    readings: Sequence[Incoming]
    positions: Sequence[int] | None
    rejected: list[Rejection]


FIELDS = frozenset(Incoming.__struct_fields__)
decode_list = msgspec.json.Decoder(list[Incoming]).decode
decode_envelope = msgspec.json.Decoder(Envelope).decode
decode_single = msgspec.json.Decoder(Incoming).decode


def decode_readings(body: bytes) -> Decoded:
    """Decode ``{"readings": […]}``, a bare list or a single reading, in JSON.

    Unknown fields of a reading move into its metadata. Raises ``Malformed`` for what is not JSON,
    ``TooLarge`` for what nests too deep and ``Invalid`` for JSON that holds no readings.
    """
    containers = count_containers(body)
    if containers > JSON_CONTAINERS_MAX:
        raise too_many_values()
    try:
        readings, around = decode_strictly(body)
    except RecursionError as error:
        raise too_deep("JSON") from error
    except (msgspec.DecodeError, UnicodeDecodeError):
        content = parse_json(body)
        check_depth(content)
        return sort_out(content)
    if containers >= len(readings) + JSON_DEPTH_MAX:
        check_metadata_depth(readings, around=around)
    return Decoded(readings, None, [])


def decode_msgpack(body: bytes) -> Decoded:
    """As ``decode_readings``, in MessagePack."""
    check_marks(body)
    try:
        return take_content(msgspec.msgpack.decode(body), "MessagePack")
    except RecursionError as error:
        raise too_deep("MessagePack") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed("The body is not valid MessagePack.") from error


def decode_cbor(body: bytes) -> Decoded:
    """As ``decode_readings``, in CBOR; of its tags, dates and decimal numbers are understood."""
    check_marks(body)
    stream = BytesIO(body)
    try:
        content = cbor2.load(
            stream,
            max_depth=JSON_DEPTH_MAX,
            strict_hashable_types=True,
            semantic_decoders=dict.fromkeys(REFUSED_TAGS, refuse_tag),
        )
    except (cbor2.CBORError, ValueError, OverflowError, TypeError) as error:
        if "depth" in str(error):
            raise too_deep("CBOR") from error
        if isinstance(error.__cause__, Malformed):
            raise error.__cause__ from None
        raise Malformed("The body is not valid CBOR.") from error
    if stream.tell() != len(body):
        raise Malformed("The body is not valid CBOR: something stands behind its end.")
    return take_content(content, "CBOR")


def refuse_tag(_content: Any, _immutable: bool) -> Any:
    raise Malformed("CBOR: no references, patterns or messages; write each value out.")


def take_content(content: Any, encoding: str) -> Decoded:
    """Return the readings of decoded content, quickly where all are plain. Raises ``TooDeep``."""
    items, around = unwrap(content)
    try:
        readings = msgspec.convert(items, list[Incoming])
    except (msgspec.ValidationError, OverflowError):
        check_depth(content, encoding)
        return sort_out(content)
    if around == 2 and len(content) > 1:
        check_depth(content, encoding)
    else:
        check_metadata_depth(readings, around=around, encoding=encoding)
    return Decoded(readings, None, [])


def unwrap(content: Any) -> tuple[Any, int]:
    """Return what should be a list of readings, and how many levels are around each."""
    if not isinstance(content, dict):
        return content, 1
    return (content["readings"], 2) if "readings" in content else ([content], 0)


def check_metadata_depth(
    readings: Sequence[Incoming], *, around: int, encoding: str = "JSON"
) -> None:
    """Refuse readings whose metadata nests too deep; ``around`` levels are around a reading.

    Nothing else of a reading nests. Raises ``TooDeep``.
    """
    most = JSON_DEPTH_MAX - around - 1
    if any(reading.metadata and depth_of(reading.metadata) > most for reading in readings):
        raise too_deep(encoding)


def check_count(decoded: Decoded, *, count_max: int) -> None:
    """Refuse more readings than one message may hold. Raises ``TooLarge``."""
    count = len(decoded.readings) + len(decoded.rejected)
    if count > count_max:
        raise TooLarge(
            f"{count} readings are more than {count_max}; send them in parts.",
            code="too_many_readings",
        )


def decode_strictly(body: bytes) -> tuple[list[Incoming], int]:
    """Return the readings, and how many levels are around each."""
    start = body[:1]
    if start == b"[":
        return decode_list(body), 1
    if body.startswith((b'{"readings"', b'{ "readings"')):
        return decode_envelope(body).readings, 2
    return [decode_single(body)], 0


def sort_out(content: Any) -> Decoded:
    """Take content apart whose readings are not all plain; slower, and tells each fault."""
    items, _ = unwrap(content)
    if not isinstance(items, list):
        raise Invalid(
            'readings: send {"readings": [...]}, a list of readings, or one reading.',
            code="no_readings",
        )
    readings: list[Incoming] = []
    positions: list[int] = []
    rejected: list[Rejection] = []
    for index, item in enumerate(items):
        outcome = read_item(item)
        if isinstance(outcome, Incoming):
            readings.append(outcome)
            positions.append(index)
        else:
            rejected.append(Rejection(index, *outcome))
    return Decoded(readings, positions, rejected)


def parse_json(body: bytes) -> Any:
    """Parse JSON, also with the NaN and Infinity that some encoders write, so that only their
    readings fail. Raises ``Malformed`` and ``TooLarge``."""
    try:
        return json.loads(body)
    except RecursionError as error:
        raise too_deep("JSON") from error
    except ValueError as error:
        raise Malformed("The body is not valid JSON.") from error


def read_item(item: Any) -> Incoming | tuple[str, str]:
    """Return the reading, or the error code and sentence that say what is wrong with it."""
    if not isinstance(item, dict):
        return "invalid_reading", "A reading is an object with sensor_type and value."
    if "value" not in item:
        return "value_missing", "value: every reading needs one."
    known = {name: content for name, content in item.items() if name in FIELDS}
    unknown = {name: content for name, content in item.items() if name not in FIELDS}
    if unknown:
        metadata = known.get("metadata")
        if metadata is None or isinstance(metadata, dict):
            known["metadata"] = {**unknown, **(metadata or {})}
    try:
        known = {name: as_json_has_it(content) for name, content in known.items()}
        if not isinstance(known["value"], bool | int | float | str):
            return "invalid_value", "value: send a number, true, false or a text."
        return msgspec.convert(known, Incoming)
    except (msgspec.ValidationError, OverflowError) as error:
        return "invalid_reading", str(error)


def as_json_has_it(content: Any) -> Any:
    """Return what CBOR has types of its own for as JSON would write it."""
    if isinstance(content, datetime):
        return content.isoformat()
    return float(content) if isinstance(content, Decimal | Fraction) else content


def check_value(value: Value) -> Rejection | None:
    """Refuse what cannot be stored: infinities, NaN, long texts."""
    if isinstance(value, str):
        if not is_storable(value):
            return Rejection(0, "value_invalid", "value: no NUL characters, no half surrogates.")
        if len(value.encode("utf-8", "surrogatepass")) > TEXT_BYTES_MAX:
            return Rejection(
                0, "value_too_long", f"value: a text has at most {TEXT_BYTES_MAX} bytes."
            )
        return None
    if not math.isfinite(value):
        return Rejection(0, "not_finite", "value: NaN and infinities are not readings.")
    return None


def check_time(ts_us: int | None, now_us: int) -> Rejection | None:
    """Refuse instants before 2000 and more than a day ahead."""
    if ts_us is None:
        return Rejection(
            0, "invalid_timestamp", "timestamp: use RFC 3339 or epoch seconds, ms, µs or ns."
        )
    if ts_us < EARLIEST_US:
        return Rejection(0, "timestamp_too_old", "timestamp: before the year 2000; set the clock.")
    if ts_us > now_us + AHEAD_US_MAX:
        return Rejection(
            0, "timestamp_in_future", "timestamp: more than one day ahead; set the clock."
        )
    return None


def check_kept(ts_us: int | None, sensor_type: str, *, from_us: int) -> Rejection | None:
    """Refuse what would be deleted at once."""
    if ts_us is None or ts_us >= from_us:
        return None
    return Rejection(
        0,
        "beyond_retention",
        f"timestamp: readings of {sensor_type} are kept from {us_to_rfc3339(from_us)} on; older "
        "ones are not taken.",
    )


def check_labels(reading: Incoming) -> Rejection | None:
    """Refuse names and labels over their length, or a reading without a type; of two types both
    have to be fit."""
    types = [name for name in (reading.sensor_type, reading.reading_type) if name is not None]
    if not types or not all(map(str.strip, types)):
        return Rejection(0, "sensor_type_missing", "sensor_type: every reading needs one.")
    for name, text, most in (
        *(("sensor_type", name.strip().lower(), SENSOR_TYPE_CHARACTERS_MAX) for name in types),
        ("sensor_id", reading.sensor_id or "", SENSOR_ID_CHARACTERS_MAX),
        ("unit", reading.unit or "", LABEL_CHARACTERS_MAX),
        ("origin", reading.origin or "", LABEL_CHARACTERS_MAX),
    ):
        if len(text) > most:
            return Rejection(0, f"{name}_too_long", f"{name}: at most {most} characters.")
        if "\x00" in text or not text.isprintable():
            return Rejection(0, f"{name}_invalid", f"{name}: no control characters.")
    return None


def encode_metadata(metadata: dict[str, Any]) -> bytes | Rejection:
    """Encode metadata for storage, bounded in size."""
    if not all(map(is_storable, texts_of(metadata))):
        return Rejection(0, "metadata_invalid", "metadata: no NUL characters, no half surrogates.")
    try:
        encoded = msgspec.json.encode(metadata)
    except (TypeError, ValueError, OverflowError) as error:
        return Rejection(0, "metadata_invalid", f"metadata: {error}")
    if len(encoded) > METADATA_BYTES_MAX:
        return Rejection(0, "metadata_too_large", f"metadata: at most {METADATA_BYTES_MAX} bytes.")
    return encoded
