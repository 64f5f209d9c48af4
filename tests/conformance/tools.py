"""Where the tier's programs are, and a plain HTTP/2 back end that is strict about what reaches it."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import pytest

from tests.proxy.harness import ROOT, free_port, needs
from tests.support import wait_until

TOOLS = ROOT / "build/tools"
FETCH = "fetch it with scripts/conformance-tools"
DEBIAN = "apt-get install nghttp2-client nghttp2-server nghttp2-proxy curl"


def tool(name: str) -> str:
    """A program of scripts/conformance-tools, or a skip that says how to get it."""
    found = TOOLS / name
    if not found.exists():
        pytest.skip(f"no {name}: {FETCH}")
    return str(found)


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@contextlib.contextmanager
def running(command: list[str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A server process, from the moment its port answers to the end of the block."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: listens(port), 20, f"{Path(command[0]).name} listens")
        yield process
    finally:
        process.kill()
        process.wait(10)


@contextlib.contextmanager
def nghttpd(files: Path, *flags: str) -> Iterator[int]:
    """Debian's HTTP/2 server over `files`; its port."""
    port = free_port()
    command = [needs("nghttpd", DEBIAN), "--no-tls", "-d", str(files), "-a", "127.0.0.1", *flags, str(port)]
    with running(command, port):
        yield port


@contextlib.contextmanager
def nghttpx(backend: int) -> Iterator[int]:
    """Debian's HTTP/2 proxy in front of a port, for comparison; its own port."""
    port = free_port()
    command = [
        needs("nghttpx", DEBIAN),
        *("--conf=/dev/null", "--workers=1", "--accesslog-file=/dev/null", "--errorlog-file=/dev/null"),
        *(f"--frontend=127.0.0.1,{port};no-tls", f"--backend=127.0.0.1,{backend};;proto=h2"),
    ]
    assert shutil.which(command[0])
    with running(command, port):
        yield port


class StrictServer:
    """Answers 200 with a body to every request that Python's h2 finds well-formed; counts the rest.

    `requests`: (method, path) → how many. `faults`: what h2 said of what was not well-formed.
    """

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str]] = Counter()
        self.faults: list[str] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        peer = h2.connection.H2Connection(config)
        peer.initiate_connection()
        with contextlib.suppress(OSError), connection:
            if connection.recv(3, socket.MSG_PEEK | socket.MSG_WAITALL) != b"PRI":
                return  # A proxy passes what is not HTTP/2 through as it is: not a request.
            connection.sendall(peer.data_to_send())
            while data := connection.recv(65536):
                try:
                    for event in peer.receive_data(data):
                        self._event(peer, event)
                except h2.exceptions.ProtocolError as fault:
                    self.faults.append(repr(fault))
                    return
                connection.sendall(peer.data_to_send())

    def _event(self, peer: h2.connection.H2Connection, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            fields = dict(event.headers)
            self.requests[str(fields.get(":method")), str(fields.get(":path"))] += 1
        elif isinstance(event, h2.events.DataReceived):
            peer.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            # The stream may be reset, or its window shut, by the time the answer is there.
            with contextlib.suppress(h2.exceptions.ProtocolError):
                peer.send_headers(event.stream_id, [(":status", "200"), ("content-type", "text/plain")])
                peer.send_data(event.stream_id, b"hello", end_stream=True)

    def close(self) -> None:
        self.listener.close()


@contextlib.contextmanager
def strict_server() -> Iterator[StrictServer]:
    server = StrictServer()
    try:
        yield server
    finally:
        server.close()
