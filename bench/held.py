"""Connections and streams that are held open, so that their memory can be seen. Speaks HTTP/2 with PyPI `h2`."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

import h2.config
import h2.connection
import h2.events

_PATH = "/10.grpc"
#: Streams of one connection: below every peer's limit (nghttpx and Envoy: 100).
STREAMS = 90


def _head(path: str) -> list[tuple[str, str]]:
    pseudo = [(":method", "POST"), (":scheme", "http"), (":authority", "bench"), (":path", path)]
    return [*pseudo, ("content-type", "application/grpc"), ("te", "trailers")]


class Client:
    """One connection."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 5)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self._send()

    def _send(self) -> None:
        self.socket.sendall(self.h2.data_to_send())

    def call(self, path: str = _PATH) -> None:
        """One whole call."""
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, _head(path), end_stream=True)
        self._send()
        while True:
            received = self.socket.recv(65536)
            if not received:
                raise OSError("the proxy closed the connection")
            events = self.h2.receive_data(received)
            self._send()
            if any(isinstance(e, h2.events.StreamEnded) for e in events):
                return

    def begin(self, count: int, path: str = _PATH) -> None:
        """So many calls whose requests do not end."""
        for _ in range(count):
            self.h2.send_headers(self.h2.get_next_available_stream_id(), _head(path))
        self._send()


@contextlib.contextmanager
def connections(port: int, count: int, path: str = _PATH) -> Iterator[list[Client]]:
    """So many connections, each with one call done and nothing under way."""
    clients: list[Client] = []
    try:
        for _ in range(count):
            clients.append(Client(port))
            clients[-1].call(path)
        yield clients
    finally:
        for client in clients:
            client.socket.close()


def settle(seconds: float = 0.3) -> None:
    """Lets a proxy finish what it was sent. A fixed time: what is waited for cannot be seen from outside."""
    time.sleep(seconds)
