"""What a subscriber asked for and got."""

from msgspec import Struct

QOS_BITS = 0x03
NO_LOCAL = 0x04
AS_PUBLISHED = 0x08
RETAIN_HANDLING = 4


class Grant(Struct, frozen=True):
    """How the messages of a subscription are delivered."""

    qos: int
    as_published: bool = False
    identifiers: tuple[int, ...] = ()

    def with_other(self, other: "Grant") -> "Grant":
        """Return what a client gets once for two subscriptions that match: the best of both."""
        return Grant(
            max(self.qos, other.qos),
            self.as_published or other.as_published,
            self.identifiers + other.identifiers,
        )


class Match(Struct, frozen=True):
    """A subscription, seen by messages of other clients and by the client's own (no-local)."""

    others: Grant
    own: Grant | None

    def with_other(self, other: "Match") -> "Match":
        """Return what two subscriptions of one client amount to."""
        own = self.own.with_other(other.own) if self.own and other.own else self.own or other.own
        return Match(self.others.with_other(other.others), own)


def match_of(options: int, identifier: int) -> Match:
    """Return the subscription for the options byte of MQTT 5; of 3.1.1 that is the QoS alone."""
    grant = Grant(
        options & QOS_BITS, bool(options & AS_PUBLISHED), (identifier,) if identifier else ()
    )
    return Match(grant, None if options & NO_LOCAL else grant)
