"""What becomes of calls when time runs out, an endpoint fails, goes away or hangs, and when the proxy itself ends."""

from __future__ import annotations

import contextlib
import itertools
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc
import h2.config
import h2.connection
import h2.events
import pytest

from tests.proxy.harness import ROOT, Client, Proxy, client, echo_server, free_port, proxy
from tests.support import stalls, wait_until


def counted(call: Callable[[str], None], seconds: float, threads: int = 8) -> tuple[int, Counter[str]]:
    """Calls with ids of their own from several threads for a while: (how many, failures by kind)."""
    ids, failures, lock = itertools.count(), Counter[str](), threading.Lock()
    until = time.monotonic() + seconds

    def work(_: int) -> int:
        n = 0
        while time.monotonic() < until:
            n += 1
            try:
                call(str(next(ids)))
            except grpc.RpcError as e:
                with lock:
                    failures[f"{e.code()} {e.details()}"] += 1
        return n

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(work, range(threads))), failures


def with_id(c: Client) -> Callable[[str], None]:
    unary = c.unary
    return lambda name: unary(b"x", metadata=(("x-id", name),), timeout=10)


def test_the_proxy_itself_keeps_the_deadline_within_50_ms() -> None:
    """The client says 300 ms in metadata and waits longer, so that whatever ends the call is the proxy."""
    with echo_server("a") as (addr, echo), proxy([addr]) as p, client(p.port) as c, stalls() as stalled:
        slow = c.slow
        measured = 0
        for _ in range(60):
            since = time.monotonic()
            # By hand, for grpcio would end the call itself.
            code, took = raw_deadline(p.port, "300m")
            assert code == "4"
            assert echo.cancelled.acquire(timeout=5), "the server was not told"
            if stalled(since) > 0.02:
                continue
            assert 0.25 <= took <= 0.35, f"{took * 1e3:.0f} ms"
            measured += 1
            if measured == 20:
                break
        assert measured == 20, f"the machine stood still too often: only {measured} of 60 calls could be timed"
        with pytest.raises(grpc.RpcError) as failed:
            slow(b"", timeout=0.2)
        assert failed.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        wait_until(lambda: p.counts() == {(addr, "DEADLINE_EXCEEDED"): 21}, 5, "all counted as out of time")


def raw_deadline(port: int, timeout: str) -> tuple[str | None, float]:
    """A call to `slow` by hand: its grpc-status, and how long it took in seconds."""
    c = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    c.initiate_connection()
    head = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/echo.Echo/slow"),
        (":authority", "a"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("grpc-timeout", timeout),
    ]
    c.send_headers(1, head)
    c.send_data(1, b"\0\0\0\0\0", end_stream=True)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as s:
        start = time.monotonic()
        s.sendall(c.data_to_send())
        while data := s.recv(65536):
            for event in c.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
                    status = dict(event.headers or []).get("grpc-status")
                    if status is not None:
                        return str(status), time.monotonic() - start
            s.sendall(c.data_to_send())
    return None, 0.0


def test_a_failing_server_costs_no_call_when_unavailable_is_tried_again() -> None:
    with (
        echo_server("a") as (a, bad),
        echo_server("b") as (b, _),
        proxy([a, b], "--retry-on", "unavailable") as p,
        client(p.port) as c,
    ):
        bad.broken = True
        for _ in range(200):
            assert c.unary(b"x", timeout=5) == b"x"
        retries = p.metric("ewma_proxy_retries_total")
        assert retries > 0
        assert p.metric("ewma_proxy_tries_total") == 200 + retries
        assert p.metric("ewma_proxy_requests_total") == 200


def test_without_the_option_a_failure_reaches_the_client_after_one_try() -> None:
    with echo_server("a") as (a, bad), proxy([a]) as p, client(p.port) as c:
        bad.broken = True
        for i in range(20):
            with pytest.raises(grpc.RpcError) as failed:
                c.unary(b"x", timeout=5, metadata=(("x-id", str(i)),))
            assert failed.value.details() == "broken"
        assert set(bad.ids.values()) == {1}
        assert len(bad.ids) == 20


def test_servers_that_drain_all_the_time_lose_no_call_and_see_none_twice() -> None:
    ages = [("grpc.max_connection_age_ms", 100), ("grpc.max_connection_age_grace_ms", 5000)]
    with (
        echo_server("a", options=ages) as (a, one),
        echo_server("b", options=ages) as (b, two),
        proxy([a, b]) as p,
        client(p.port) as c,
    ):
        n, failures = counted(with_id(c), 6)
        assert not failures, failures
        seen = one.ids + two.ids
        assert len(seen) == n
        assert set(seen.values()) == {1}, "a call was processed twice"
        assert p.metric("ewma_proxy_upstream_connects_total") > 40


class Picky:
    """A server that refuses every third stream and every 30 streams says GOAWAY with a last stream two below those it
    has seen. `processed`: how often it took up the request with that id."""

    def __init__(self) -> None:
        self.processed: Counter[str] = Counter()
        self.refused = self.goaways = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self.listener.accept()[0],), daemon=True).start()

    def _serve(self, s: socket.socket) -> None:
        c = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        c.initiate_connection()
        heads: dict[int, str] = {}
        with s, contextlib.suppress(OSError):
            s.sendall(c.data_to_send())
            while data := s.recv(65536):
                for event in c.receive_data(data):
                    if isinstance(event, h2.events.RequestReceived):
                        heads[event.stream_id] = dict(event.headers)["x-id"]
                    elif isinstance(event, h2.events.DataReceived):
                        c.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                # Requests that came together are dealt with together, so that there are some above GOAWAY's last.
                leaving = bool(heads) and max(heads) > 60
                last = max(heads, default=0) - 4 if leaving else 0
                for stream, name in list(heads.items()):
                    if leaving and stream > last:
                        continue
                    if stream % 3 == 0:
                        self.refused += 1
                        c.reset_stream(stream, error_code=7)
                    else:
                        self.processed[name] += 1
                        c.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
                        c.send_data(stream, b"\0\0\0\0\0")
                        c.send_headers(stream, [("grpc-status", "0")], end_stream=True)
                    del heads[stream]
                if leaving:
                    self.goaways += 1
                    c.close_connection(last_stream_id=last)
                s.sendall(c.data_to_send())
                if leaving:
                    # Reads on to the end: a close with unread input would take the last answers with it.
                    s.shutdown(socket.SHUT_WR)
                    while s.recv(65536):
                        pass
                    return


def test_refused_streams_and_those_above_goaways_last_are_processed_once() -> None:
    one, two = Picky(), Picky()
    with proxy([one.address, two.address]) as p, client(p.port) as c:
        n, failures = counted(with_id(c), 4, threads=16)
        seen = one.processed + two.processed
        # Four tries may all meet a refusal, and then the client is told so: that is no duplicate.
        assert set(failures) <= {f for f in failures if "UNAVAILABLE" in f}, failures
        assert set(seen.values()) == {1}, "a call was processed twice"
        assert len(seen) == n - failures.total()
        assert failures.total() < n / 20, failures
        assert one.refused + two.refused > 100
        assert one.goaways + two.goaways > 10
        assert p.metric("ewma_proxy_replays_total") > 100
    one.listener.close()
    two.listener.close()


def test_a_proxy_that_is_replaced_under_load_fails_no_call() -> None:
    with echo_server("a") as (addr, echo):
        port = free_port()
        old = Proxy([addr], port=port)
        new: list[Proxy] = []

        def replace() -> None:
            old.process.send_signal(signal.SIGTERM)
            wait_until(lambda: not listening(port), 5, "the port is free")
            new.append(Proxy([addr], port=port))

        timer = threading.Timer(1.5, replace)
        with client(port) as c:
            timer.start()
            unary = c.unary
            n, failures = counted(
                lambda name: unary(b"x", metadata=(("x-id", name),), timeout=10, wait_for_ready=True), 4
            )
        timer.join()
        assert not failures, failures
        assert old.process.wait(timeout=5) == 0
        assert len(echo.ids) == n
        assert set(echo.ids.values()) == {1}
        assert new[0].metric("ewma_proxy_requests_total") > 0, "the new one took over"
        old.kill()
        new[0].kill()


def listening(port: int) -> bool:
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


HANGING = """
import sys
sys.path.insert(0, {root!r})
from tests.proxy.harness import echo_server
with echo_server("a", port={port}):
    print("up", flush=True)
    sys.stdin.read()
"""


def test_an_endpoint_that_hangs_is_pinged_once_and_its_calls_fail() -> None:
    port = free_port()
    code = HANGING.format(root=str(ROOT), port=port)
    server = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == "up\n"
        with proxy([f"127.0.0.1:{port}"], "--ping-after-seconds", "1") as p, client(p.port) as c:
            assert c.unary(b"x") == b"x"
            server.send_signal(signal.SIGSTOP)
            start = time.monotonic()
            with pytest.raises(grpc.RpcError) as failed:
                c.unary(b"x", timeout=30)
            assert failed.value.code() == grpc.StatusCode.UNAVAILABLE
            assert time.monotonic() - start < 10
            assert (p.metric("ewma_proxy_pings_total"), p.metric("ewma_proxy_stalled_total")) == (1, 1)
    finally:
        server.kill()
        server.communicate()


def test_a_stock_server_is_never_pinged_too_often() -> None:
    """A stream on which only the client speaks, for long enough that a PING a second would end it."""
    with echo_server("a") as (addr, echo), proxy([addr], "--ping-after-seconds", "1") as p, client(p.port) as c:
        silent = threading.Event()

        def messages() -> object:
            for _ in range(6):
                silent.wait(1.8)
                yield b"x"

        assert c.client(messages(), timeout=30) == b"6"
        slow = c.slow.future(b"", timeout=30)
        silent.wait(4)
        echo.release.set()
        assert slow.result() == b"a"
        assert 1 <= p.metric("ewma_proxy_pings_total") <= 3
        assert p.metric("ewma_proxy_stalled_total") == 0
        assert p.metric("ewma_proxy_upstream_connects_total") == 1, "the server ended the connection"
