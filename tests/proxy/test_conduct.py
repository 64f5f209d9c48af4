"""The proxy as a program: options, ports, admin pages, bytes that are not HTTP."""

from __future__ import annotations

import http.client
import http.server
import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.proxy.harness import client, echo_server, free_port, proxy, proxy_binary
from tests.support import wait_until


def run(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([proxy_binary(), *args], capture_output=True, text=True, timeout=20, check=False)


def test_help_shows_an_example_and_every_option() -> None:
    text = run("--help").stdout
    assert "example: ewma-proxy --listen" in text
    assert "EWMA_PROXY_ENDPOINTS" in text


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ((), "nothing to balance"),
        (("--listen", "nowhere", "--endpoints", "x"), "--listen"),
        (("--nonsense", "1"), "--nonsense"),
        (("fly",), "no such command"),
    ],
)
def test_bad_options_are_refused_in_a_line_each_with_code_2(args: tuple[str, ...], says: str) -> None:
    done = run(*args)
    assert done.returncode == 2
    assert says in done.stderr
    assert "panicked" not in done.stderr


def test_a_taken_port_is_one_line_and_code_3() -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        done = run("--listen", f"127.0.0.1:{s.getsockname()[1]}", "--endpoints", "127.0.0.1:1", "--admin", "off")
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "cannot listen on" in done.stderr


def test_await_returns_when_the_proxy_is_ready_and_fails_when_it_is_not() -> None:
    with proxy(["127.0.0.1:1"]) as p:
        assert run("await", "--admin", f"127.0.0.1:{p.admin}", "--timeout", "5").returncode == 0
    done = run("await", "--admin", f"127.0.0.1:{free_port()}", "--timeout", "0")
    assert done.returncode == 3
    assert "not ready" in done.stderr


def test_the_admin_pages_answer_get_only() -> None:
    with echo_server("a") as (addr, _), proxy([addr]) as p, client(p.port) as c:
        c.unary(b"x")
        endpoints = json.loads(p.get("/endpoints"))["services"][0]["endpoints"]
        assert [e["address"] for e in endpoints] == [addr]
        assert json.loads(p.get("/config"))["policy"] == "ewma"
        for method, path, status in [
            ("POST", "/metrics", 405),
            ("GET", "/secret", 404),
            ("GET", "/live", 200),
        ]:
            connection = http.client.HTTPConnection("127.0.0.1", p.admin, timeout=5)
            connection.request(method, path)
            assert connection.getresponse().status == status
            connection.close()


@contextmanager
def http1_server() -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = b"over http/1.1"
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_http1_is_served_on_the_same_port() -> None:
    with http1_server() as addr, proxy([addr]) as p:
        connection = http.client.HTTPConnection("127.0.0.1", p.port, timeout=5)
        for _ in range(3):
            connection.request("GET", "/")
            assert connection.getresponse().read() == b"over http/1.1"
        connection.close()
        assert p.counts() == {(addr, "200"): 3}
        wait_until(lambda: p.metric("ewma_proxy_connections") == 0, 5, "the client's connection is gone")


def test_a_protocol_in_which_the_server_speaks_first_passes_within_two_seconds() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=lambda: listener.accept()[0].sendall(b"220 hello\r\n"), daemon=True).start()
    addr = f"127.0.0.1:{listener.getsockname()[1]}"
    with proxy([addr]) as p, socket.create_connection(("127.0.0.1", p.port), timeout=2) as s:
        assert s.recv(100) == b"220 hello\r\n"
    listener.close()


def test_opaque_bytes_keep_their_half_close() -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        s, _ = listener.accept()
        data = b""
        while chunk := s.recv(65536):
            data += chunk
        s.sendall(str(len(data)).encode())
        s.close()

    threading.Thread(target=serve, daemon=True).start()
    addr = f"127.0.0.1:{listener.getsockname()[1]}"
    with proxy([addr]) as p, socket.create_connection(("127.0.0.1", p.port), timeout=10) as s:
        s.sendall(b"z" * (4 << 20))
        s.shutdown(socket.SHUT_WR)
        assert s.recv(100) == str(4 << 20).encode()
    listener.close()


def test_idle_memory_stays_small() -> None:
    with echo_server("a") as (addr, _), proxy([addr]) as p, client(p.port) as c:
        for _ in range(200):
            c.unary(b"x" * 1000)
        assert p.rss_mib() < 10
