"""The outbox of a session: bounded, in order, and clear about what happens when it is full."""

from fieldstation.adapters.mqtt_server.options import MqttCounters, OutboxLimits
from fieldstation.adapters.mqtt_server.outbox import Delivery, Outbox
from fieldstation.adapters.mqtt_server.packets import Publish
from fieldstation.core.clock import SystemClock
from tests.adapters.mqtt_server.raw_client import Received, read_publish


class Link:
    """A client that takes packets for as long as it is ``writable``."""

    def __init__(self, outbox: Outbox, *, stops_after: int | None = None) -> None:
        self.writable = True
        self.closed = False
        self.sent: list[Publish] = []
        self._outbox = outbox
        self._stops_after = stops_after

    def send(self, frame: bytes) -> None:
        assert self.writable
        self.sent.append(read_publish(Received(frame[0], frame[2:])))
        self.writable = len(self.sent) != self._stops_after

    def close_slow(self) -> None:
        self.closed = True
        self._outbox.detach()


def make_outbox(*, persistent: bool = True, **limits: int) -> tuple[Outbox, MqttCounters]:
    counters = MqttCounters()
    limited = OutboxLimits(**limits)
    outbox = Outbox(limited, counters, persistent=persistent, now_us=SystemClock().now_us)
    return outbox, counters


def message(payload: str, *, qos: int = 1) -> Delivery:
    return Delivery("t", payload.encode(), qos=qos)


def payloads(link: Link) -> str:
    return b"".join(sent.payload for sent in link.sent).decode()


def test_a_slow_client_gets_everything_once_it_reads_again_in_order() -> None:
    outbox, _ = make_outbox()
    link = Link(outbox)
    outbox.attach(link)
    link.writable = False
    for letter in "abc":
        outbox.offer(message(letter, qos=letter == "b"))
    assert link.sent == []
    assert outbox.waiting_messages == 3
    link.writable = True
    outbox.send_waiting()
    assert payloads(link) == "abc"


def test_a_full_outbox_drops_qos_0_and_keeps_the_connection() -> None:
    outbox, counters = make_outbox(queue_messages_max=2)
    link = Link(outbox)
    outbox.attach(link)
    link.writable = False
    for letter in "abcd":
        outbox.offer(message(letter, qos=0))
    link.writable = True
    outbox.send_waiting()
    assert payloads(link) == "ab"
    assert counters.dropped_slow == 2
    assert not link.closed


def test_a_full_outbox_ends_the_connection_rather_than_drop_qos_1() -> None:
    outbox, counters = make_outbox(queue_messages_max=2, inflight_max=1)
    link = Link(outbox)
    outbox.attach(link)
    for letter in "abcd":
        outbox.offer(message(letter))
    assert link.closed
    assert counters.slow_closed == 1
    again = Link(outbox)
    outbox.attach(again)
    for packet_id in (1, 2, 3):
        outbox.acknowledge(packet_id)
    # "b" was the oldest one when "d" came and the client had gone.
    assert payloads(again) == "acd"
    assert counters.dropped_queued == 1


def test_an_absent_client_loses_its_oldest_messages_first() -> None:
    outbox, counters = make_outbox(queue_messages_max=3)
    for letter in "abcde":
        outbox.offer(message(letter))
    link = Link(outbox)
    outbox.attach(link)
    assert payloads(link) == "cde"
    assert counters.dropped_queued == 2


def test_an_absent_client_without_a_persistent_session_keeps_nothing() -> None:
    outbox, _ = make_outbox(persistent=False)
    outbox.offer(message("a"))
    assert outbox.waiting_messages == 0


def test_bytes_are_bounded_too_and_one_large_message_still_passes() -> None:
    outbox, counters = make_outbox(queue_bytes_max=100)
    for size in (40, 40, 40):
        outbox.offer(message("x" * size))
    assert counters.dropped_queued == 1
    outbox.offer(message("y" * 500))
    link = Link(outbox)
    outbox.attach(link)
    assert outbox.waiting_messages == 1
    assert len(link.sent) == 1


def test_unacknowledged_bytes_count() -> None:
    outbox, _ = make_outbox(queue_bytes_max=100, inflight_max=1)
    link = Link(outbox)
    outbox.attach(link)
    outbox.offer(message("x" * 90))
    outbox.offer(message("y" * 20))
    outbox.offer(message("z" * 20))
    assert link.closed


def test_what_is_sent_again_keeps_its_packet_id_and_comes_first() -> None:
    outbox, _ = make_outbox(inflight_max=3)
    first = Link(outbox)
    outbox.attach(first)
    for letter in "abcd":
        outbox.offer(message(letter))
    outbox.acknowledge(2)
    outbox.detach()
    slow = Link(outbox, stops_after=2)
    outbox.attach(slow)
    assert [sent.packet_id for sent in slow.sent] == [1, 3]
    outbox.acknowledge(3)
    outbox.acknowledge(4)
    slow.writable = True
    outbox.send_waiting()
    assert payloads(slow) == "ac"
    outbox.offer(message("e"))
    assert payloads(slow) == "ace"


def test_what_is_acknowledged_before_it_was_sent_again_is_not() -> None:
    outbox, _ = make_outbox()
    outbox.attach(Link(outbox))
    for letter in "ab":
        outbox.offer(message(letter))
    outbox.detach()
    slow = Link(outbox, stops_after=1)
    outbox.attach(slow)
    outbox.acknowledge(2)
    slow.writable = True
    outbox.send_waiting()
    assert payloads(slow) == "a"
    outbox.detach()
    outbox.acknowledge(1)
    assert outbox.waiting_messages == 0


def test_retained_messages_come_before_live_ones_and_qos_0_is_not_kept_for_the_absent() -> None:
    outbox, _ = make_outbox()
    link = Link(outbox)
    outbox.attach(link)
    link.writable = False
    outbox.offer(message("a"))
    outbox.offer(message("b", qos=0))
    assert outbox.offer_retained([message("r"), message("s", qos=0)])
    outbox.detach()
    again = Link(outbox)
    outbox.attach(again)
    assert payloads(again) == "ra"


def test_packet_ids_go_round_without_ever_meeting() -> None:
    outbox, _ = make_outbox(inflight_max=10)
    link = Link(outbox)
    outbox.attach(link)
    outbox.offer(message("kept"))
    for _ in range(70_000):
        outbox.offer(message("x"))
        outbox.acknowledge(link.sent[-1].packet_id)
    packet_ids = [sent.packet_id for sent in link.sent]
    assert packet_ids[0] == 1
    assert 1 not in packet_ids[1:]
    assert max(packet_ids) == 0xFFFF
