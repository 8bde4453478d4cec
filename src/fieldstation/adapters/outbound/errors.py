"""What comes of a request that another host does not answer, or that is not sent at all."""

from fieldstation.core.errors import Busy, Invalid


class OutboundRefused(Invalid):
    """The station does not connect there."""

    default_code = "outbound_refused"


class HostUnreachable(Busy):
    """A host that may be asked gave no usable answer."""

    default_code = "host_unreachable"
