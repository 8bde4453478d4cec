"""What carries the bytes of a connection."""

import ssl
from typing import Protocol, cast


class ByteTransport(Protocol):
    """What a connection writes to: an ``asyncio`` transport, or one that carries MQTT elsewhere."""

    def write(self, data: bytes, /) -> None: ...
    def can_write_eof(self) -> bool: ...
    def write_eof(self) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def set_write_buffer_limits(self, write_bytes_high: int, /) -> None: ...
    def get_write_buffer_size(self) -> int: ...
    def get_extra_info(self, name: str, /) -> object: ...


def end(transport: ByteTransport, *, wait_for_peer: bool) -> None:
    """End the connection after what was written; read on until the peer ends it too, if to wait.

    Closing a socket while bytes of the peer lie unread resets it, and the peer never reads why.
    TLS and WebSocket have an exchange of their own for this.
    """
    if wait_for_peer and transport.can_write_eof():
        transport.resume_reading()
        transport.write_eof()
    else:
        transport.close()


def verified_certificate(transport: ByteTransport | None) -> bytes | None:
    """Return the client certificate of a TLS connection, in DER."""
    encrypted = transport.get_extra_info("ssl_object") if transport else None
    if encrypted is None:
        return None
    return cast("ssl.SSLObject", encrypted).getpeercert(binary_form=True)
