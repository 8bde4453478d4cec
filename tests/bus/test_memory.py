"""Events reach the subscribers of their type, and one that fails does not stop the next."""

from typing import Any

import structlog
from structlog.testing import capture_logs

from fieldstation.bus.memory import MemoryBus
from fieldstation.core.events import Event


class Opened(Event, frozen=True, kw_only=True, tag=True):
    """A fact."""

    name: str = "gate"


class Closed(Event, frozen=True, kw_only=True, tag=True):
    """Another fact."""


class OpenedWide(Opened, frozen=True):
    """A special case of the first."""


def test_subscribers_are_called_in_the_order_they_subscribed() -> None:
    bus, calls = MemoryBus(), list[Any]()
    for name in "abc":
        bus.subscribe(Opened, lambda event, name=name: calls.append((name, event.name)))
    bus.publish(Opened(name="door"))
    assert calls == [("a", "door"), ("b", "door"), ("c", "door")]


def test_an_event_reaches_exactly_its_own_type() -> None:
    bus, opened, wide = MemoryBus(), list[Event](), list[Event]()
    bus.subscribe(Opened, opened.append)
    bus.subscribe(OpenedWide, wide.append)
    bus.publish(Closed())
    bus.publish(OpenedWide())
    assert opened == []
    assert wide == [OpenedWide()]


def test_a_handler_that_fails_is_logged_and_does_not_stop_the_others() -> None:
    bus, calls = MemoryBus(), list[Any]()

    def fail(_event: Opened) -> None:
        raise LookupError("no such gate")

    bus.subscribe(Opened, fail)
    bus.subscribe(Opened, calls.append)
    structlog.reset_defaults()
    with capture_logs() as logged:
        bus.publish(Opened())
    assert len(calls) == 1
    assert [(entry["event"], entry["event_type"]) for entry in logged] == [
        ("event_handler_failed", "Opened")
    ]


def test_an_ended_subscription_hears_nothing_more() -> None:
    bus, calls = MemoryBus(), list[Any]()
    end = bus.subscribe(Opened, calls.append)
    end()
    end()
    bus.publish(Opened())
    assert calls == []


def test_a_handler_may_end_its_subscription_while_it_is_called() -> None:
    bus, calls = MemoryBus(), list[Any]()

    def once(_event: Opened) -> None:
        calls.append("once")
        end()

    end = bus.subscribe(Opened, once)
    bus.subscribe(Opened, lambda _event: calls.append("always"))
    bus.publish(Opened())
    bus.publish(Opened())
    assert calls == ["once", "always", "always"]
