"""Peers that say whatever they are told, on either side of the proxy. Frames are made with hyperframe and hpack."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator

from hpack import Encoder
from hyperframe.frame import HeadersFrame, SettingsFrame

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
REQUEST = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/echo.Echo/unary"),
    (":authority", "a"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
]


class Raw:
    """A client that says whatever it is told, and reads until the other side closes."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.encoder = Encoder()
        self.send(PREFACE + SettingsFrame(0).serialize())

    def send(self, data: bytes) -> bool:
        """False once the peer has closed."""
        try:
            self.socket.sendall(data)
        except OSError:
            return False
        return True

    def head(self, stream: int, *, end: bool = True, extra: list[tuple[str, str]] | None = None) -> bytes:
        frame = HeadersFrame(stream, data=self.encoder.encode(REQUEST + (extra or [])), flags=["END_HEADERS"])
        if end:
            frame.flags.add("END_STREAM")
        return bytes(frame.serialize())

    def goaway_code(self) -> int | None:
        """The code of the GOAWAY that comes before the end; None if the connection just ended."""
        data, code = b"", None
        with contextlib.suppress(OSError):
            while chunk := self.socket.recv(65536):
                data += chunk
        while len(data) >= 9:
            length, kind = int.from_bytes(data[:3], "big"), data[3]
            if kind == 7 and len(data) >= 17:
                code = struct.unpack(">I", data[13:17])[0]
            data = data[9 + length :]
        return code

    def close(self) -> None:
        self.socket.close()


def frames(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Whole frames at the front of `data`: kind, flags, stream, payload."""
    while len(data) >= 9 and len(data) >= 9 + (length := int.from_bytes(data[:3], "big")):
        yield data[3], data[4], int.from_bytes(data[5:9], "big"), data[9 : 9 + length]
        data = data[9 + length :]


class RawServer:
    """A server that greets, waits for a request, and then does what `script` says with its socket.

    `connections`: how many came. `codes`: with which GOAWAY codes they were ended.
    """

    def __init__(self, script: Callable[[socket.socket], None], settings: dict[int, int] | None = None) -> None:
        self.script = script
        self.settings = settings or {}
        self.connections = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                s, _ = self.listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(s,), daemon=True).start()

    def _serve(self, s: socket.socket) -> None:
        with contextlib.suppress(OSError), s:
            s.settimeout(20)
            s.sendall(SettingsFrame(0, settings=self.settings).serialize())
            s.sendall(SettingsFrame(0, flags=["ACK"]).serialize())
            data = b""
            while not any(kind == 1 for kind, *_ in frames(data[len(PREFACE) :])):
                more = s.recv(65536)
                if not more:
                    return
                data += more
            self.script(s)

    def close(self) -> None:
        self.listener.close()


@contextlib.contextmanager
def raw_server(script: Callable[[socket.socket], None], settings: dict[int, int] | None = None) -> Iterator[RawServer]:
    server = RawServer(script, settings)
    try:
        yield server
    finally:
        server.close()
