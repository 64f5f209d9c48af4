"""One connection carried on to another: bytes both ways, with half-close and back-pressure.

asyncio protocols rather than streams, because every request of the lab passes here: a chunk that arrives is
written once, without a task to wake. What one side does, the other is told: an end (FIN) as an end, a reset
as a reset. Knows nothing of Services or pods.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import cast

HIGH_WATER_BYTES = 256 * 1024
"""Unsent bytes towards one side at which reading from the other pauses."""

CONNECT_TIMEOUT_S = 5.0

Address = tuple[str, int]


class Side(asyncio.Protocol):
    """One of two connections; `other` is where its bytes go."""

    def __init__(self, other: Side | None = None) -> None:
        self.other = other
        self.transport: asyncio.Transport | None = None
        self._ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)

    def data_received(self, data: bytes) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)

    def eof_received(self) -> bool:
        """Pass the end on; keep our way back open until the other side ends too."""
        self._ended = True
        other = self.other
        if other is None or other.transport is None or other._ended:
            return False
        if other.transport.can_write_eof() and not other.transport.is_closing():
            other.transport.write_eof()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        other, self.other, self.transport = self.other, None, None
        if other is None or other.transport is None:
            return
        if exc is not None:
            reset(other.transport)
        else:
            other.transport.close()  # after what is still to be sent

    def pause_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()


class Accepted(Side):
    """A client's connection. choose: where to carry it to, or None when there is nobody."""

    def __init__(self, choose: Callable[[], Address | None], open_connections: set[Accepted]) -> None:
        super().__init__()
        self._choose = choose
        self._open = open_connections
        self._connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._open.add(self)
        address = self._choose()
        if self.transport is None or address is None:
            self.abort()
            return
        self.transport.pause_reading()
        self._connecting = asyncio.get_running_loop().create_task(self._connect(address))

    def connection_lost(self, exc: Exception | None) -> None:
        self._open.discard(self)
        if self._connecting is not None:
            self._connecting.cancel()
        super().connection_lost(exc)

    def abort(self) -> None:
        """Reset the connection, as a node without endpoints for the Service does."""
        if self.transport is not None:
            reset(self.transport)

    async def _connect(self, address: Address) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                _, other = await asyncio.get_running_loop().create_connection(lambda: Side(self), *address)
        except OSError:  # TimeoutError is one
            self.abort()
            return
        finally:
            self._connecting = None
        self.other = other
        if self.transport is not None:
            self.transport.resume_reading()
        elif other.transport is not None:
            other.transport.close()


def reset(transport: asyncio.Transport) -> None:
    """Close with RST instead of FIN (SO_LINGER of zero, socket(7)); what was not sent is dropped."""
    connection = transport.get_extra_info("socket")
    try:
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        pass
    transport.abort()
