"""The decoder of MQTT 5: the same packets however split, and ProtocolError for the rest."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fieldstation.adapters.mqtt_server.codec import Decoder
from fieldstation.adapters.mqtt_server.options import PacketLimits
from fieldstation.adapters.mqtt_server.packets import (
    Connect,
    MessageProperties,
    Packet,
    ProtocolError,
    Publish,
    Reason,
    Subscribe,
)
from tests.adapters.mqtt_server.raw_client import packet, text
from tests.adapters.mqtt_server.raw_client5 import (
    Properties,
    acknowledge,
    connect5,
    disconnect5,
    property_bytes,
    publish5,
    subscribe5,
)
from tests.adapters.mqtt_server.test_codec import body, filters, split, topics

HEADS = st.sampled_from(
    [0x10, 0x30, 0x32, 0x34, 0x3B, 0x40, 0x50, 0x62, 0x70, 0x82, 0xA2, 0xC0, 0xE0, 0xF0]
)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
forwarded = st.fixed_dictionaries(
    {},
    optional={
        0x01: st.integers(0, 1),
        0x03: texts.map(str.encode),
        0x08: topics.map(str.encode),
        0x09: st.binary(max_size=8),
        0x26: st.lists(st.tuples(texts, texts), min_size=1, max_size=3),
    },
)
publishes = st.builds(
    publish5,
    topics,
    st.binary(max_size=40),
    packet_id=st.integers(1, 0xFFFF),
    qos=st.integers(0, 2),
    retain=st.booleans(),
    properties=forwarded,
)


def subscribe_with(wanted: list[tuple[str, int]], identifier: int) -> bytes:
    return subscribe5(*wanted, properties={0x0B: identifier})


good = st.one_of(
    publishes,
    st.builds(
        subscribe_with,
        st.lists(st.tuples(filters, st.integers(0, 0x2E).filter(lambda o: o & 3 != 3)), min_size=1),
        st.integers(1, 0xFFFFFFF),
    ),
    st.builds(acknowledge, st.sampled_from([0x40, 0x50, 0x62, 0x70]), st.integers(1, 0xFFFF)),
    st.builds(disconnect5, st.integers(0, 4)),
)
almost = st.tuples(HEADS, st.binary(max_size=40)).map(lambda parts: packet(*parts))


def outcome(parts: list[bytes]) -> tuple[list[Packet], Reason | None]:
    """Return the packets up to the first violation, and its code."""
    decoder = Decoder(PacketLimits(packet_bytes_max=4_096))
    decoder.feed(connect5())
    found = decoder.packets(1)
    for part in parts:
        decoder.feed(part)
        for _ in range(len(part) + 2):
            try:
                more = decoder.packets(3)
            except ProtocolError as error:
                return found, error.code
            if not more:
                break
            found += more
        else:
            pytest.fail("the decoder goes round in circles")
    return found, None


@given(
    st.lists(st.binary(max_size=60) | almost | good, max_size=8),
    st.lists(st.integers(0, 2_000), max_size=8),
)
@settings(max_examples=500, deadline=None)
@example([b"\x30\x00", b"\x30\x02\x00\x00"], [])
@example([b"\x32\x05\x00\x01a\x00\x05"], [])
@example([packet(0x30, text("a") + b"\xff\xff\xff\x7f")], [])
def test_arbitrary_bytes_raise_only_protocol_errors_and_the_split_changes_nothing(
    parts: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(parts)
    found, fault = outcome(split(stream, cuts))
    at_once, fault_at_once = outcome([stream])
    assert (found, fault is None) == (at_once, fault_at_once is None)


@given(topics, st.binary(max_size=60), forwarded, st.none() | st.integers(0, 0xFFFFFFFF))
@settings(max_examples=200, deadline=None)
def test_the_properties_of_a_message_come_back_as_they_were(
    topic: str, payload: bytes, properties: Properties, expiry_s: int | None
) -> None:
    expiry: Properties = {} if expiry_s is None else {0x02: expiry_s}
    found, fault = outcome([publish5(topic, payload, properties={**expiry, **properties})])
    encoded = property_bytes(properties)
    raw = encoded[1:] if len(encoded) < 0x81 else encoded[2:]
    expected = None
    if raw or expiry_s is not None:
        expected = MessageProperties(raw, expiry_s)
    assert fault is None
    assert found[1] == Publish(topic, payload, properties=expected)


def test_connect_carries_what_the_client_takes() -> None:
    decoder = Decoder(PacketLimits())
    decoder.feed(
        connect5(
            "c",
            properties={0x11: 7, 0x21: 9, 0x27: 1_000, 0x22: 3, 0x19: 1, 0x17: 0},
            will=("w", b"x", 1, {0x18: 30, 0x02: 5}),
        )
    )
    (found,) = decoder.packets(1)
    assert isinstance(found, Connect)
    assert (found.session_expiry_s, found.receive_maximum, found.packet_bytes_max) == (7, 9, 1_000)
    assert (found.topic_alias_max, found.will_delay_s) == (3, 30)
    assert found.will == Publish("w", b"x", 0, 1, properties=MessageProperties(b"", 5))


def test_subscription_options_and_identifier() -> None:
    found, _ = outcome([subscribe5(("a", 0x2E), ("$share/g/b/#", 1), properties={0x0B: 300})])
    assert found[1] == Subscribe(1, (("a", 0x2E), ("$share/g/b/#", 1)), 300)


@pytest.mark.parametrize(
    "properties",
    [
        b"\x01\x7f",
        b"\x02\x26\x00",
        b"\x03\x03\0\x05",
        b"\xff\xff\xff\xff\x01",
    ],
)
def test_malformed_properties(properties: bytes) -> None:
    _, fault = outcome([packet(0x30, text("a") + properties)])
    assert fault is Reason.MALFORMED


def test_acknowledgements_may_carry_a_code_and_properties() -> None:
    for first in (0x40, 0x50, 0x62, 0x70):
        code = b"\x10" if first < 0x60 else b"\x92"
        for rest in (b"", code, code + b"\x00", code + b"\x04\x1f\0\1x"):
            found, fault = outcome([packet(first, body(7, rest))])
            assert (len(found), fault) == (2, None)


@pytest.mark.parametrize(
    ("frame", "fault"),
    [
        (packet(0x40, b"\0\1\x92"), Reason.PROTOCOL_ERROR),
        (packet(0x50, b"\0\1\x04"), Reason.PROTOCOL_ERROR),
        (packet(0x62, b"\0\1\x10"), Reason.PROTOCOL_ERROR),
        (packet(0x70, b"\0\1\x80"), Reason.PROTOCOL_ERROR),
        (packet(0xE0, b"\x8e"), Reason.PROTOCOL_ERROR),
        (packet(0xE0, b"\x01"), Reason.PROTOCOL_ERROR),
        (connect5(properties={0x16: b"data"}), Reason.PROTOCOL_ERROR),
        (b"\x30\x85\x00\x00\x01a\x001", Reason.MALFORMED),
        (packet(0x30, text("a") + b"\x80\x00"), Reason.MALFORMED),
    ],
    ids=[
        "PUBACK",
        "PUBREC",
        "PUBREL",
        "PUBCOMP",
        "DISCONNECT of a server",
        "DISCONNECT unknown",
        "authentication data without a method",
        "MQTT-1.5.5-1 remaining length",
        "MQTT-1.5.5-1 length of properties",
    ],
)
def test_what_no_client_may_send(frame: bytes, fault: Reason) -> None:
    assert outcome([frame])[1] is fault


def test_a_padded_length_of_connect_is_malformed_too() -> None:
    frame = connect5()
    decoder = Decoder(PacketLimits())
    decoder.feed(frame[:1] + bytes((frame[1] | 0x80, 0)) + frame[2:])
    with pytest.raises(ProtocolError, match="more bytes than it needs"):
        decoder.packets(1)
