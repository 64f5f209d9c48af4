"""Bytes that are not HTTP, and clients that are silent: who speaks first decides, and nobody waits for a timer."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

from tests.proxy.harness import Proxy, client, echo_server, free_port, proxy
from tests.support import wait_until

CLIENT_HELLO = b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + bytes(range(32))


@contextlib.contextmanager
def tcp_server(serve: Callable[[socket.socket], None]) -> Iterator[tuple[str, list[socket.socket]]]:
    """A server whose connections `serve` handles, each on its thread: (address, connections so far)."""
    listener = socket.create_server(("127.0.0.1", 0))
    taken: list[socket.socket] = []

    def accept() -> None:
        while True:
            try:
                s, _ = listener.accept()
            except OSError:
                return
            taken.append(s)
            threading.Thread(target=guarded, args=(s,), daemon=True).start()

    def guarded(s: socket.socket) -> None:
        with contextlib.suppress(OSError):
            serve(s)

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}", taken
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for s in taken:
            s.close()


def greet(s: socket.socket) -> None:
    s.sendall(b"220 hello\r\n")


def echo(s: socket.socket) -> None:
    while data := s.recv(65536):
        s.sendall(data)


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=5)


def test_a_servers_greeting_is_through_within_200_ms() -> None:
    with tcp_server(greet) as (addr, _), proxy([addr]) as p:
        took = []
        for _ in range(5):
            begin = time.monotonic()
            with connect(p.port) as s:
                assert s.recv(100) == b"220 hello\r\n"
            took.append(time.monotonic() - begin)
        assert sorted(took)[2] < 0.2, took


def test_a_silent_client_and_a_silent_server_wait_for_each_other_for_ever() -> None:
    with tcp_server(echo) as (addr, taken), proxy([addr]) as p, connect(p.port) as s:
        wait_until(lambda: len(taken) == 1, 5, "the endpoint is connected to, in case it speaks first")
        s.sendall(b"\x00late\r\n")
        assert s.recv(100) == b"\x00late\r\n"
        assert len(taken) == 1, "the connection that was there is used"


def test_a_grpc_client_that_begins_late_is_still_balanced() -> None:
    """A gRPC server sends SETTINGS unasked: that is not a protocol in which the server speaks first."""
    with echo_server("a") as (a, _), echo_server("b") as (b, _), proxy([a, b]) as p:
        with connect(p.port) as s:
            wait_until(lambda: p.metric("ewma_proxy_opaque_connections") == 0, 1, "it is not passed through")
            time_out = time.monotonic() + 0.3
            wait_until(lambda: time.monotonic() > time_out, 1, "the grace is over and the server has spoken")
            s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
            assert s.recv(100)[3] == 4, "the proxy's own SETTINGS"
        with client(p.port) as c:
            for _ in range(10):
                assert c.unary(b"x") == b"x"
        assert p.metric("ewma_proxy_opaque_connections_total") == 0
        pods = {pod for pod, _ in p.counts()}
        assert len(pods) == 2


def test_tls_passes_as_bytes_at_once() -> None:
    with tcp_server(echo) as (addr, _), proxy([addr]) as p, connect(p.port) as s:
        begin = time.monotonic()
        s.sendall(CLIENT_HELLO)
        assert s.recv(100) == CLIENT_HELLO
        assert time.monotonic() - begin < 0.2


def test_a_hello_that_could_become_http_but_does_not_passes_after_a_second() -> None:
    with tcp_server(echo) as (addr, _), proxy([addr]) as p, connect(p.port) as s:
        s.sendall(b"HELLO")
        assert s.recv(100) == b"HELLO"


def test_connections_go_to_the_endpoint_with_the_fewest_of_two() -> None:
    with (
        tcp_server(echo) as (a, at_a),
        tcp_server(echo) as (b, at_b),
        tcp_server(echo) as (c, at_c),
        proxy([a, b, c]) as p,
        contextlib.ExitStack() as stack,
    ):
        for _ in range(30):
            s = stack.enter_context(connect(p.port))
            s.sendall(b"\x00")
            assert s.recv(1) == b"\x00"
        assert all(8 <= len(taken) <= 12 for taken in (at_a, at_b, at_c)), [len(at_a), len(at_b), len(at_c)]


def test_an_endpoint_that_refuses_costs_no_connection() -> None:
    with tcp_server(echo) as (good, _), proxy([good, f"127.0.0.1:{free_port()}"]) as p:
        for _ in range(20):
            with connect(p.port) as s:
                s.sendall(b"\x00hello")
                assert s.recv(100) == b"\x00hello"


def test_no_endpoint_at_all_is_a_reset() -> None:
    with proxy([f"127.0.0.1:{free_port()}"]) as p, connect(p.port) as s:
        s.sendall(b"\x00hello")
        try:
            assert s.recv(100) == b""
        except ConnectionResetError:
            pass


def test_draining_does_not_wait_for_clients_that_say_nothing() -> None:
    with echo_server("a") as (addr, _):
        p = Proxy([addr])
        with connect(p.port):
            begin = time.monotonic()
            assert p.stop()[0] == 0
            assert time.monotonic() - begin < 3
