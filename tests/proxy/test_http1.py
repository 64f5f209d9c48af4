"""Real HTTP/1.x through the proxy: http.client, httpx, curl, websockets; http.server, uvicorn, raw sockets."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import http.server
import random
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
import pytest
import uvicorn
from websockets.sync.client import connect
from websockets.sync.server import serve

from lab.verdict import judge
from tests.proxy.harness import Proxy, needs, proxy
from tests.support import wait_until


class Handler(http.server.BaseHTTPRequestHandler):
    """Says who it is; echoes what it is sent, by its length or in chunks."""

    protocol_version = "HTTP/1.1"
    # It writes head and body apart: with Nagle's algorithm each answer would wait for an acknowledgement.
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._answer(str(self.server.server_address[1]).encode())

    do_HEAD = do_GET

    def do_POST(self) -> None:
        if self.headers.get("transfer-encoding") == "chunked":
            pieces = []
            while size := int(self.rfile.readline(), 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            body = b"".join(pieces)
            trailers = b"".join(iter(lambda: self.rfile.readline().replace(b"\r\n", b""), b""))
        else:
            body, trailers = self.rfile.read(int(self.headers["content-length"])), b""
        self._answer(body, trailers)

    do_PUT = do_POST

    def _answer(self, body: bytes, trailers: bytes = b"") -> None:
        self.send_response(200)
        self.send_header("x-sha256", hashlib.sha256(body).hexdigest())
        self.send_header("x-trailers", trailers.decode())
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def http_server(handler: type[http.server.BaseHTTPRequestHandler] = Handler) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def asgi_server() -> Iterator[str]:
    """uvicorn with an app that says who it is."""

    async def app(scope: dict, receive: object, send: object) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})  # type: ignore[operator]
        body = str(scope["server"][1]).encode()
        await send({"type": "http.response.body", "body": body, "more_body": True})  # type: ignore[operator]
        await send({"type": "http.response.body", "body": b""})  # type: ignore[operator]

    config = uvicorn.Config(app, port=0, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started, 10, "uvicorn listens")
    try:
        yield f"127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="module")
def fleet() -> Iterator[tuple[Proxy, list[str]]]:
    with ExitStack() as stack:
        servers = [stack.enter_context(http_server()) for _ in range(3)]
        yield stack.enter_context(proxy(servers)), servers


def test_one_keep_alive_connection_is_spread_evenly_over_three_servers(fleet: tuple[Proxy, list[str]]) -> None:
    p, servers = fleet
    connection = http.client.HTTPConnection("127.0.0.1", p.port, timeout=10)
    seen: Counter[str] = Counter()
    for _ in range(900):
        connection.request("GET", "/who?x=1")
        seen[connection.getresponse().read().decode()] += 1
    connection.close()
    verdict = judge({s: seen[s.rpartition(":")[2]] for s in servers})
    assert verdict.verdict == "even", verdict.explanation
    assert p.metric("ewma_proxy_upstream_connects_total") <= 9, "connections are kept"
    assert sum(n for (_, code), n in p.counts().items() if code == "200") >= 900
    assert 'route="/who"' in p.get("/metrics")


def test_httpx_over_uvicorn_in_chunks_is_spread_too() -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(asgi_server()) for _ in range(3)]
        p = stack.enter_context(proxy(servers))
        with httpx.Client(base_url=f"http://127.0.0.1:{p.port}", timeout=10) as client:
            seen = Counter(client.get("/").text for _ in range(90))
        assert len(seen) == 3, seen


def test_64_mib_pass_both_ways_by_length_and_in_chunks_and_memory_stays_small(fleet: tuple[Proxy, list[str]]) -> None:
    p, _ = fleet
    body = random.Random(1).randbytes(64 << 20)
    digest = hashlib.sha256(body).hexdigest()
    for content in (body, (body[i : i + 100_000] for i in range(0, len(body), 100_000))):
        answer = httpx.post(f"http://127.0.0.1:{p.port}/echo", content=content, timeout=60)
        assert answer.headers["x-sha256"] == digest
        assert hashlib.sha256(answer.content).hexdigest() == digest
    assert p.rss_mib() < 16


def test_trailers_of_a_chunked_request_arrive(fleet: tuple[Proxy, list[str]]) -> None:
    with socket.create_connection(("127.0.0.1", fleet[0].port), timeout=10) as s:
        s.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
        s.sendall(b"5;ext=1\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n")
        answer = b"".join(iter(lambda: s.recv(65536), b""))
    assert b"x-trailers: X-Sum: 7\r\n" in answer
    assert answer.endswith(b"\r\n\r\nhello")


def test_curl_awaits_100_continue_and_keeps_its_connection(fleet: tuple[Proxy, list[str]]) -> None:
    curl = needs("curl", "apt-get install curl")
    url = f"http://127.0.0.1:{fleet[0].port}/echo"
    done = subprocess.run(
        [curl, "-sv", "--max-time", "20", "-H", "Expect: 100-continue", "--data-binary", "x" * 2000, url, url],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stderr.count("< HTTP/1.1 100 Continue") == 2, done.stderr
    assert done.stderr.count("< HTTP/1.1 200 OK") == 2
    assert "Re-using existing connection" in done.stderr
    assert done.stdout == "x" * 4000


def test_a_websocket_echoes_through_the_proxy() -> None:
    with serve(lambda ws: [ws.send(m) for m in ws] and None, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        addr = f"127.0.0.1:{server.socket.getsockname()[1]}"
        with proxy([addr]) as p:
            with connect(f"ws://127.0.0.1:{p.port}/ws", max_size=None, proxy=None) as ws:
                for message in ("hello", b"\0binary", "x" * 1_000_000):
                    ws.send(message)
                    assert ws.recv(timeout=10) == message
                assert p.metric("ewma_proxy_requests_in_flight") == 1
            wait_until(lambda: p.metric("ewma_proxy_requests_in_flight") == 0, 5, "the tunnel is over")
            assert p.counts()[addr, "101"] == 1
        server.shutdown()


def closing_server(seed: int) -> type[http.server.BaseHTTPRequestHandler]:
    """Closes connections at random after an answer, without a word of it."""
    rng = random.Random(seed)

    class Closing(Handler):
        def do_GET(self) -> None:
            super().do_GET()
            if rng.random() < 0.3:
                self.wfile.flush()
                self.close_connection = True

        do_DELETE = do_GET

    return Closing


def test_servers_that_close_idle_connections_at_random_cost_no_idempotent_request() -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(http_server(closing_server(i))) for i in range(3)]
        p = stack.enter_context(proxy(servers))
        failed: list[object] = []

        def client(method: str) -> None:
            connection = http.client.HTTPConnection("127.0.0.1", p.port, timeout=20)
            for _ in range(500):
                try:
                    connection.request(method, "/")
                    answer = connection.getresponse()
                    answer.read()
                    if answer.status != 200:
                        failed.append(answer.status)
                except (OSError, http.client.HTTPException) as e:
                    failed.append(e)
                    connection.close()

        threads = [threading.Thread(target=client, args=(m,)) for m in ("GET", "GET", "DELETE", "DELETE")]
        for t in threads:
            t.start()
        for t in threads:
            t.join(60)
        assert not failed
        assert p.metric("ewma_proxy_upstream_connects_total") > 100, "they did close"


def test_a_request_that_is_smuggled_past_one_reader_reaches_no_server() -> None:
    got: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def record() -> None:
        with contextlib.suppress(OSError):
            while True:
                s, _ = listener.accept()
                got.append(s.recv(65536))
                s.close()

    threading.Thread(target=record, daemon=True).start()
    with proxy([f"127.0.0.1:{listener.getsockname()[1]}"]) as p:
        for head in (
            b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n",
            b"Transfer-Encoding : chunked\r\n",
            b"Content-Length: 5\r\nContent-Length: 6\r\n",
            b"X: y\nTransfer-Encoding: chunked\r\n",
        ):
            with socket.create_connection(("127.0.0.1", p.port), timeout=10) as s:
                s.sendall(
                    b"POST / HTTP/1.1\r\nHost: a\r\n" + head + b"\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n"
                )
                answer = b"".join(iter(lambda s=s: s.recv(65536), b""))
            assert answer.startswith(b"HTTP/1.1 400 "), head
            assert answer.count(b"HTTP/1.1") == 1
    listener.close()
    assert got == []


def test_a_client_that_reads_slowly_blocks_only_itself(fleet: tuple[Proxy, list[str]]) -> None:
    p, _ = fleet
    body = b"y" * (32 << 20)
    with socket.create_connection(("127.0.0.1", p.port), timeout=20) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        head = f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        threading.Thread(target=lambda: slow.sendall(head + body), daemon=True).start()
        wait_until(lambda: p.metric("ewma_proxy_requests_in_flight") >= 1, 5, "the upload is under way")
        for _ in range(50):
            assert httpx.get(f"http://127.0.0.1:{p.port}/", timeout=10).status_code == 200
        assert p.rss_mib() < 16
        slow.shutdown(socket.SHUT_RD)


def test_sigterm_lets_the_exchange_end_and_says_so() -> None:
    release = threading.Event()

    class Slow(Handler):
        def do_GET(self) -> None:
            release.wait(20)
            super().do_GET()

    with http_server(Slow) as addr:
        p = Proxy([addr])
        try:
            connection = http.client.HTTPConnection("127.0.0.1", p.port, timeout=20)
            connection.request("GET", "/")
            wait_until(lambda: p.metric("ewma_proxy_requests_in_flight") == 1, 5, "the request is under way")
            p.process.terminate()
            wait_until(lambda: _refused(p.port), 5, "no more clients are taken")
            release.set()
            answer = connection.getresponse()
            assert (answer.status, answer.getheader("connection")) == (200, "close")
            answer.read()
            connection.close()
            assert p.process.wait(10) == 0
        finally:
            release.set()
            p.kill()


def _refused(port: int) -> bool:
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) != 0


def test_without_endpoints_the_answer_is_a_503_that_says_why() -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        with proxy([f"127.0.0.1:{s.getsockname()[1]}"]) as p:
            answer = httpx.get(f"http://127.0.0.1:{p.port}/", timeout=20)
    assert answer.status_code == 503
    assert answer.text.startswith("ewma-proxy: ")
