"""The decoder: every packet there and back, however split, and ProtocolError for the rest."""

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fieldstation.adapters.mqtt_server.codec import (
    Decoder,
    encode_pubacks,
    encode_publish,
    encode_suback,
)
from fieldstation.adapters.mqtt_server.fields import encode_size
from fieldstation.adapters.mqtt_server.options import PacketLimits
from fieldstation.adapters.mqtt_server.packets import (
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    ProtocolError,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Subscribe,
    Unsubscribe,
    UnsupportedProtocolError,
)
from tests.adapters.mqtt_server.raw_client import (
    DISCONNECT,
    PINGREQ,
    connect_bytes,
    encode_connect,
    packet,
    publish_bytes,
    subscribe_bytes,
    text,
    unsubscribe_bytes,
)

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
levels = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0+#/"), max_size=6)
topics = st.lists(levels, min_size=1, max_size=5).map("/".join).filter(bool)
filters = (
    st.tuples(st.lists(levels | st.just("+"), min_size=1, max_size=4), st.sampled_from(["", "/#"]))
    .map(lambda parts: "/".join(parts[0]) + parts[1])
    .filter(bool)
)
packet_ids = st.integers(1, 0xFFFF)
payloads = st.binary(max_size=300)
wills = st.builds(
    Publish,
    topic=topics,
    payload=payloads,
    packet_id=st.just(0),
    qos=st.integers(0, 2),
    retain=st.booleans(),
)
connects = st.builds(
    Connect,
    client_id=texts,
    clean_session=st.booleans(),
    keep_alive_s=st.integers(0, 0xFFFF),
    will=st.none() | wills,
    username=texts,
    password=st.none() | st.binary(max_size=20),
)
publishes = st.builds(
    Publish, topic=topics, payload=payloads, qos=st.just(0), retain=st.booleans()
) | st.builds(
    Publish,
    topic=topics,
    payload=payloads,
    packet_id=packet_ids,
    qos=st.integers(1, 2),
    retain=st.booleans(),
)
packets = st.one_of(
    connects,
    publishes,
    *(st.builds(kind, packet_ids) for kind in (Puback, Pubrec, Pubrel, Pubcomp)),
    st.builds(
        Subscribe,
        packet_ids,
        st.lists(st.tuples(filters, st.integers(0, 2)), min_size=1, max_size=4).map(tuple),
    ),
    st.builds(Unsubscribe, packet_ids, st.lists(filters, min_size=1, max_size=4).map(tuple)),
    st.just(Pingreq()),
    st.just(Disconnect()),
)


FIRST_OF = {Puback: 0x40, Pubrec: 0x50, Pubrel: 0x62, Pubcomp: 0x70}


def encode(sent: Packet) -> bytes:
    match sent:
        case Publish():
            return encode_publish(sent)
        case Connect():
            return encode_connect(sent)
        case Subscribe(packet_id, wanted):
            return subscribe_bytes(*wanted, packet_id=packet_id)
        case Unsubscribe(packet_id, unwanted):
            return unsubscribe_bytes(*unwanted, packet_id=packet_id)
        case Puback() | Pubrec() | Pubrel() | Pubcomp():
            return packet(FIRST_OF[type(sent)], sent.packet_id.to_bytes(2, "big"))
    return PINGREQ if sent == Pingreq() else DISCONNECT


def decode(*parts: bytes, limits: PacketLimits | None = None, count_max: int = 4) -> list[Packet]:
    """Feed the parts one by one, taking packets whenever there may be some."""
    decoder = Decoder(limits or PacketLimits())
    found: list[Packet] = []
    for part in parts:
        decoder.feed(part)
        while decoder.ready and (more := decoder.packets(count_max)):
            assert len(more) <= count_max
            found += more
    return found


def split(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    return [stream[begin:end] for begin, end in itertools.pairwise(places)]


@given(st.lists(packets, max_size=8), st.lists(st.integers(0, 10_000), max_size=12))
@settings(max_examples=300, deadline=None)
def test_every_packet_comes_back_however_the_stream_was_split(
    sent: list[Packet], cuts: list[int]
) -> None:
    stream = b"".join(map(encode, sent))
    assert decode(*split(stream, cuts)) == sent


@given(st.lists(packets, min_size=1, max_size=3))
@settings(max_examples=50, deadline=None)
def test_every_packet_comes_back_byte_by_byte(sent: list[Packet]) -> None:
    stream = b"".join(map(encode, sent))
    assert decode(*(bytes((byte,)) for byte in stream)) == sent


def outcome(parts: list[bytes]) -> tuple[list[Packet], bool]:
    """Return the packets up to the first violation, and whether there was one."""
    decoder = Decoder(PacketLimits(packet_bytes_max=4_096))
    found: list[Packet] = []
    for part in parts:
        decoder.feed(part)
        for _ in range(len(part) + 2):
            try:
                more = decoder.packets(3)
            except ProtocolError:
                return found, True
            if not more:
                break
            found += more
        else:
            pytest.fail("the decoder goes round in circles")
    return found, False


HEADS = st.sampled_from([0x10, 0x30, 0x32, 0x33, 0x3A, 0x40, 0x82, 0xA2, 0xC0, 0xE0])
almost_packets = st.tuples(HEADS, st.binary(max_size=40)).map(lambda parts: packet(*parts))


@given(
    st.lists(st.binary(max_size=60) | almost_packets | packets.map(encode), max_size=8),
    st.lists(st.integers(0, 2_000), max_size=8),
)
@settings(max_examples=500, deadline=None)
@example([b"\x30\x00", b"\x30\x02\x00\x00"], [])
@example([b"\x32\x03\x00\x05a"], [])
def test_arbitrary_bytes_raise_only_protocol_errors_and_the_split_changes_nothing(
    parts: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(parts)
    assert outcome(split(stream, cuts)) == outcome([stream])


def body(packet_id: int, *rest: bytes) -> bytes:
    return packet_id.to_bytes(2, "big") + b"".join(rest)


CONNECT_HEAD = text("MQTT") + b"\x04"

VIOLATIONS = {
    "reserved bits of SUBSCRIBE": packet(0x80, body(1, text("a"), b"\0")),
    "reserved bits of PUBACK": packet(0x41, body(1)),
    "reserved bits of PINGREQ": b"\xc1\x00",
    "packet type 0": b"\x00\x00",
    "packet type 15": b"\xf0\x00",
    "a packet only servers send": b"\x20\x02\x00\x00",
    "reserved bits of PUBREL": packet(0x60, body(1)),
    "packet id 0 in PUBREC": packet(0x50, body(0)),
    "remaining length of five bytes": b"\x30\xff\xff\xff\xff\x01",
    "PUBLISH without topic": b"\x30\x01\x00",
    "empty topic": packet(0x30, text("") + b"1"),
    "topic longer than the packet": b"\x30\x03\x00\x09a",
    "QoS 1 without packet id": packet(0x32, text("a")),
    "QoS 3": packet(0x36, text("a") + b"\0\x01"),
    "duplicate with QoS 0": packet(0x38, text("a")),
    "packet id 0 in PUBLISH": packet(0x32, text("a") + b"\0\0"),
    "packet id 0 in SUBSCRIBE": packet(0x82, body(0, text("a"), b"\0")),
    "packet id 0 in PUBACK": packet(0x40, body(0)),
    "+ in a topic": packet(0x30, text("a/+")),
    "# in a topic": packet(0x30, text("#")),
    "NUL in a topic": packet(0x30, text("a\0b")),
    "surrogate in a topic": packet(0x30, text(b"\xed\xa0\x80")),
    "bad UTF-8 in a topic": packet(0x30, text(b"\xff")),
    "overlong UTF-8 in a topic": packet(0x30, text(b"\xc0\xaf")),
    "topic too long": packet(0x30, text("a" * 2_000)),
    "topic too deep": packet(0x30, text("a/" * 40)),
    "SUBSCRIBE without filters": packet(0x82, body(1)),
    "SUBSCRIBE with QoS 3": packet(0x82, body(1, text("a"), b"\x03")),
    "SUBSCRIBE with reserved QoS bits": packet(0x82, body(1, text("a"), b"\x04")),
    "SUBSCRIBE cut short": packet(0x82, body(1, text("a"))),
    "SUBSCRIBE with an empty filter": packet(0x82, body(1, text(""), b"\0")),
    "# in the middle of a filter": packet(0x82, body(1, text("a/#/b"), b"\0")),
    "# inside a level": packet(0x82, body(1, text("a#"), b"\0")),
    "two #": packet(0x82, body(1, text("#/#"), b"\0")),
    "+ inside a level": packet(0x82, body(1, text("a/b+"), b"\0")),
    "too many filters": packet(0x82, body(1, *[text("a") + b"\0"] * 300)),
    "too many filters to unsubscribe": packet(0xA2, body(1, *[text("a")] * 300)),
    "UNSUBSCRIBE without filters": packet(0xA2, body(1)),
    "PUBACK too long": packet(0x40, body(1, b"x")),
    "PINGREQ with a body": b"\xc0\x01x",
    "CONNECT of something else": packet(0x10, text("HTTP") + b"\x04\x02\0\0" + text("c")),
    "CONNECT with its reserved flag": packet(0x10, CONNECT_HEAD + b"\x03\0\0" + text("c")),
    "CONNECT with a password alone": packet(
        0x10, CONNECT_HEAD + b"\x42\0\0" + text("c") + text("p")
    ),
    "CONNECT with will flags and no will": packet(0x10, CONNECT_HEAD + b"\x22\0\0" + text("c")),
    "CONNECT with a will of QoS 3": packet(
        0x10, CONNECT_HEAD + b"\x1e\0\0" + text("c") + text("t") + text("p")
    ),
    "CONNECT with a wildcard will": packet(
        0x10, CONNECT_HEAD + b"\x06\0\0" + text("c") + text("#") + text("p")
    ),
    "CONNECT with NUL in its user name": packet(
        0x10, CONNECT_HEAD + b"\x82\0\0" + text("c") + text("a\0")
    ),
    "CONNECT cut short": packet(0x10, CONNECT_HEAD + b"\x02\0"),
    "CONNECT with something behind it": packet(0x10, CONNECT_HEAD + b"\x02\0\0" + text("c") + b"!"),
}


@pytest.mark.parametrize("frame", VIOLATIONS.values(), ids=VIOLATIONS.keys())
def test_a_violation_is_a_protocol_error_after_the_packets_before_it(frame: bytes) -> None:
    decoder = Decoder(PacketLimits())
    decoder.feed(PINGREQ + frame + PINGREQ)
    assert decoder.packets(10) == [Pingreq()]
    for _ in range(2):
        with pytest.raises(ProtocolError):
            decoder.packets(10)


@pytest.mark.parametrize(
    "frame",
    [
        connect_bytes()[:8] + b"\x06" + connect_bytes()[9:],
        packet(0x10, text("MQIsdp") + b"\x03\x02\0\0" + text("c")),
    ],
    ids=["6", "3.1"],
)
def test_other_versions_of_the_protocol_are_told_apart(frame: bytes) -> None:
    with pytest.raises(UnsupportedProtocolError):
        decode(frame)


def test_a_packet_of_exactly_the_limit_passes_and_one_byte_more_does_not() -> None:
    limits = PacketLimits(packet_bytes_max=1_000)
    fits = publish_bytes("a", b"x" * (1_000 - 6))
    assert len(fits) == 1_000
    assert decode(fits, limits=limits) == [Publish("a", b"x" * 994)]
    decoder = Decoder(limits)
    decoder.feed(publish_bytes("a", b"x" * 995)[:3])
    with pytest.raises(ProtocolError, match="longer than 1000 bytes"):
        decoder.packets(1)


def test_a_connect_may_be_as_large_as_any_packet() -> None:
    will = Publish("gone", b"x" * 60_000, 0, 1)
    large = connect_bytes("c" * 40_000, will=will)
    assert len(large) > 100_000
    (found,) = decode(large)
    assert isinstance(found, Connect)
    assert found.will == will


def test_a_remaining_length_may_be_padded() -> None:
    assert decode(b"\x30\x84\x80\x00\x00\x01a1") == [Publish("a", b"1")]


def test_a_large_packet_in_small_parts_is_not_looked_at_before_it_is_there() -> None:
    stream = connect_bytes() + publish_bytes("a", b"x" * 900_000)
    decoder = Decoder(PacketLimits())
    looks = 0
    found: list[Packet] = []
    for begin in range(0, len(stream), 1_000):
        decoder.feed(stream[begin : begin + 1_000])
        if decoder.ready:
            looks += 1
            found += decoder.packets(10)
    assert [type(each) for each in found] == [Connect, Publish]
    assert looks <= 3
    assert decoder.unparsed_bytes == 0


def test_the_topics_remembered_are_bounded() -> None:
    stream = b"".join(publish_bytes(f"topic/{number}") for number in range(1_000))
    found = decode(stream)
    assert [each.topic for each in found if isinstance(each, Publish)] == [
        f"topic/{number}" for number in range(1_000)
    ]


def test_answers_are_encoded_in_order() -> None:
    assert encode_pubacks([1, 0xFFFF]) == b"\x40\x02\x00\x01\x40\x02\xff\xff"
    assert encode_pubacks([]) == b""
    assert encode_suback(7, [0, 1, 0x80]) == b"\x90\x05\x00\x07\x00\x01\x80"
    assert encode_size(268_435_455) == b"\xff\xff\xff\x7f"
    assert encode_publish(Publish("a", b"1", 5, 1), duplicate=True) == b"\x3a\x06\x00\x01a\x00\x051"
