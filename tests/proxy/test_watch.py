"""Calls one by one: the tap and the access log. What they show, what they never show, and that they hold nobody up."""

from __future__ import annotations

import http.client
import http.server
import json
import socket
import subprocess
import threading
import time
from typing import Any

import grpc
import pytest

from tests.proxy.harness import Client, Proxy, client, echo_server, free_port, proxy, proxy_binary
from tests.support import wait_until

SECRET = "Bearer 0123456789"


class Quiet(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        pass


class Tap:
    """A reader of /tap; `lines` grows as they come."""

    def __init__(self, p: Proxy, query: str = "") -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", p.admin, timeout=10)
        self.connection.request("GET", f"/tap{query}")
        # http.client lets go of it once the answer has begun.
        self.sock = self.connection.sock
        self.answer = self.connection.getresponse()
        self.lines: list[dict[str, Any]] = []
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        for line in self.answer if self.answer.status == 200 else ():
            self.lines.append(json.loads(line))

    def close(self) -> None:
        self.sock.shutdown(socket.SHUT_RDWR)
        self.thread.join(timeout=5)
        self.connection.close()


def settled(p: Proxy, c: Client) -> None:
    """The tap is in place once a call shows up in it; here it is enough that the worker has read its messages."""
    p.get("/metrics")


def test_a_tap_shows_calls_as_they_end_and_nothing_that_is_secret() -> None:
    with echo_server("a") as (addr, _), proxy([addr]) as p, client(p.port) as c:
        c.unary(b"before")
        tap = Tap(p)
        settled(p, c)
        c.unary(b"payload", metadata=(("authorization", SECRET), ("x-id", "1")))
        with pytest.raises(grpc.RpcError):
            c.fail(b"x")
        wait_until(lambda: len(tap.lines) == 2, 5, "two calls")
        first, second = tap.lines
        assert first["route"] == "/echo.Echo/unary"
        assert (first["code"], second["code"]) == ("OK", "FAILED_PRECONDITION")
        assert (first["endpoint"], first["service"], first["tries"]) == (addr, "static", 1)
        assert 0 < first["answer_ms"] <= first["duration_ms"] < 5000
        assert abs(first["time"] - time.time()) < 60
        said = json.dumps(tap.lines)
        assert SECRET not in said
        assert "payload" not in said
        tap.close()


def test_requests_over_http1_are_shown_too() -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    addr = f"127.0.0.1:{server.server_port}"
    with proxy([addr]) as p, client(p.port) as c:
        tap = Tap(p)
        settled(p, c)
        connection = http.client.HTTPConnection("127.0.0.1", p.port, timeout=5)
        connection.request("GET", "/nothing?token=secret", headers={"authorization": SECRET})
        assert connection.getresponse().status == 404
        connection.close()
        wait_until(lambda: tap.lines, 5, "a line")
        (line,) = tap.lines
        assert (line["route"], line["code"], line["endpoint"], line["tries"]) == ("/nothing", 404, addr, 1)
        assert 0 < line["answer_ms"] <= line["duration_ms"]
        assert "secret" not in json.dumps(line)
        tap.close()
    server.shutdown()
    server.server_close()


def test_a_tap_takes_every_nth_call_of_a_route_and_ends_after_n_lines() -> None:
    with echo_server("a") as (addr, _), proxy([addr]) as p, client(p.port) as c:
        tap = Tap(p, "?n=3&every=5&route=unary")
        settled(p, c)
        for _ in range(20):
            c.unary(b"x")
            list(c.server(b"1"))
        tap.thread.join(timeout=5)
        assert not tap.thread.is_alive(), "it ends by itself"
        assert [line["route"] for line in tap.lines] == ["/echo.Echo/unary"] * 3


def test_there_are_four_taps_at_a_time_and_one_that_leaves_makes_room() -> None:
    with echo_server("a") as (addr, _), proxy([addr]) as p:
        taps = [Tap(p) for _ in range(4)]
        assert [t.answer.status for t in taps] == [200] * 4
        assert Tap(p).answer.status == 503
        taps[0].close()
        wait_until(lambda: Tap(p, "?n=1").answer.status == 200, 5, "room for one")
        for tap in taps[1:]:
            tap.close()


def test_a_wrong_query_and_another_method_are_refused() -> None:
    with proxy(["127.0.0.1:1"]) as p:
        for method, path, status in [("GET", "/tap?n=x", 400), ("POST", "/tap", 405), ("HEAD", "/tap", 200)]:
            connection = http.client.HTTPConnection("127.0.0.1", p.admin, timeout=5)
            connection.request(method, path)
            assert connection.getresponse().status == status
            connection.close()


def test_a_tap_that_is_not_read_loses_lines_and_holds_nobody_up() -> None:
    with echo_server("a") as (addr, _), proxy([addr]) as p, client(p.port) as c:
        stuck = socket.socket()
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        stuck.connect(("127.0.0.1", p.admin))
        stuck.sendall(b"GET /tap HTTP/1.1\r\n\r\n")
        settled(p, c)
        # A queue of batches, the socket's buffers, and then lines are lost. A path that is long fills them sooner.
        method = c.channel.unary_unary(f"/{'x' * 190}/m", lambda b: b, lambda b: b)

        def lost() -> float:
            calls = [method.future(b"", timeout=5) for _ in range(500)]
            for call in calls:
                call.exception()
            return p.metric("ewma_proxy_records_lost_total")

        wait_until(lost, 60, "lines are lost", interval_s=0)
        start = time.monotonic()
        assert c.unary(b"x", timeout=5) == b"x"
        assert time.monotonic() - start < 1
        assert p.rss_mib() < 30
        stuck.close()


def test_the_access_log_is_a_line_of_json_per_request_and_whole_at_the_end() -> None:
    with echo_server("a") as (addr, _):
        port, admin = free_port(), free_port()
        where = ["--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}", "--endpoints", addr]
        process = subprocess.Popen(
            [proxy_binary(), *where, "--access-log", "on"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        subprocess.run([proxy_binary(), "await", "--admin", f"127.0.0.1:{admin}"], check=True, timeout=20)
        with client(port) as c:
            for _ in range(50):
                c.unary(b"payload", metadata=(("authorization", SECRET),))
        process.terminate()
        text, _ = process.communicate(timeout=20)
        lines = [json.loads(line) for line in text.splitlines()]
        assert [line["code"] for line in lines] == ["OK"] * 50
        assert SECRET not in text


def test_an_access_log_that_nobody_reads_holds_nobody_up() -> None:
    with echo_server("a") as (addr, _):
        port, admin = free_port(), free_port()
        where = ["--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}", "--endpoints", addr]
        process = subprocess.Popen(
            [proxy_binary(), *where, "--access-log", "on"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        subprocess.run([proxy_binary(), "await", "--admin", f"127.0.0.1:{admin}"], check=True, timeout=20)
        try:
            with client(port) as c:
                for _ in range(20):
                    calls = [c.unary.future(b"x", timeout=5) for _ in range(100)]
                    assert [call.result() for call in calls] == [b"x"] * 100
            process.terminate()
            assert process.wait(timeout=10) == 0, "it ends although nobody reads"
        finally:
            process.kill()
            process.communicate()


def test_without_the_option_nothing_is_written_to_standard_output() -> None:
    with echo_server("a") as (addr, _):
        port, admin = free_port(), free_port()
        where = ["--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}", "--endpoints", addr]
        process = subprocess.Popen(
            [proxy_binary(), *where], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        subprocess.run([proxy_binary(), "await", "--admin", f"127.0.0.1:{admin}"], check=True, timeout=20)
        with client(port) as c:
            c.unary(b"x")
        process.terminate()
        assert process.communicate(timeout=20)[0] == ""
