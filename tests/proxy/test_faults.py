"""Faults of peers and of the machine: stalls, silence, few descriptors, many streams; measured on real sockets."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import grpc
import pytest
from hyperframe.frame import DataFrame, HeadersFrame, PingFrame, RstStreamFrame, WindowUpdateFrame

from tests.proxy.harness import ROOT, Proxy, client, echo_server, free_port, needs, proxy
from tests.proxy.raw import REQUEST, Raw, frames, raw_server
from tests.support import wait_until

GOAWAY, PING, RST_STREAM, HEADERS = 7, 6, 3, 1


def read_until(s: socket.socket, data: bytearray, kind: int, deadline_s: float = 10) -> tuple[int, int, int, bytes]:
    """Reads into `data` until it holds a frame of this kind; takes it and all before it out."""
    s.settimeout(deadline_s)
    while True:
        at = 0
        for frame in frames(bytes(data)):
            at += 9 + len(frame[3])
            if frame[0] == kind:
                del data[:at]
                return frame
        more = s.recv(65536)
        assert more, f"the connection ended before a frame of kind {kind}"
        data += more


@contextlib.contextmanager
def echo_process(*prefix: str, host: str = "127.0.0.1") -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """An echo server in a process of its own, so that it can be stopped or cut off."""
    port = free_port()
    command = [*prefix, sys.executable, "-m", "tests.proxy.echo_process", host, str(port)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield f"{host}:{port}", process
    finally:
        process.kill()
        process.wait(10)


def test_sigterm_is_goaway_ping_goaway_and_exit_0() -> None:
    with echo_server("a") as (addr, _):
        p = Proxy([addr])
        raw = Raw(p.port)
        data = bytearray()
        read_until(raw.socket, data, 4)
        p.process.terminate()
        _, _, _, first = read_until(raw.socket, data, GOAWAY)
        assert int.from_bytes(first[:4], "big") == 2**31 - 1
        assert int.from_bytes(first[4:8], "big") == 0
        _, _, _, ping = read_until(raw.socket, data, PING)
        # A request that crossed the first GOAWAY is still served.
        request = raw.head(1, end=False) + DataFrame(1, data=b"\0\0\0\0\1x", flags=["END_STREAM"]).serialize()
        raw.send(request + PingFrame(0, opaque_data=ping, flags=["ACK"]).serialize())
        last = b""
        while int.from_bytes(last[:4], "big") != 1:
            _, _, _, last = read_until(raw.socket, data, GOAWAY)
        assert p.process.wait(10) == 0
        raw.close()
        p.kill()


def test_a_cancel_reaches_the_server_within_100_ms() -> None:
    took: list[float] = []
    arrived, cancelled = threading.Semaphore(0), threading.Semaphore(0)
    sent = [0.0]

    def script(s: socket.socket) -> None:
        data = bytearray()
        # The first call's head has been read when the script begins.
        arrived.release()
        while True:
            read_until(s, data, RST_STREAM)
            took.append(time.monotonic() - sent[0])
            cancelled.release()
            if len(took) == 5:
                return
            read_until(s, data, HEADERS)
            arrived.release()

    with raw_server(script) as server, proxy([server.address]) as p:
        for _ in range(5):
            raw = Raw(p.port)
            raw.send(raw.head(1, end=False))
            # Not before: a call that is reset before it has gone out costs the server nothing, not even the reset.
            assert arrived.acquire(timeout=5)
            sent[0] = time.monotonic()
            raw.send(RstStreamFrame(1, error_code=8).serialize())
            assert cancelled.acquire(timeout=5)
            raw.close()
        wait_until(lambda: p.metric("ewma_proxy_requests_in_flight") == 0, 5, "nothing is in flight")
    assert sorted(took)[2] < 0.1, took


def test_a_deadline_is_kept_to_50_ms_and_99999999_hours_are_legal() -> None:
    with echo_server("a") as (addr, echo), proxy([addr]) as p, client(p.port) as c:
        off = []
        for _ in range(3):
            start = time.monotonic()
            with pytest.raises(grpc.RpcError) as failed:
                c.slow(b"", timeout=0.3)
            off.append(abs(time.monotonic() - start - 0.3))
            assert failed.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert sorted(off)[1] < 0.05, off
        echo.release.set()
        raw = Raw(p.port)
        raw.send(raw.head(1, end=False, extra=[("grpc-timeout", "99999999H")]))
        raw.send(DataFrame(1, data=b"\0\0\0\0\1x", flags=["END_STREAM"]).serialize())
        assert b"\0\0\0\0\1x" in read_until(raw.socket, bytearray(), 0)[3]
        raw.close()


def test_a_reader_that_stops_blocks_its_own_stream_and_memory_stays_flat() -> None:
    with echo_server("a") as (addr, _), proxy([addr]) as p, client(p.port) as honest:
        honest.unary(b"x")
        raw = Raw(p.port)
        # A gigabyte of messages is asked for; window updates for it never come, nor is a byte read.
        block = raw.encoder.encode([(k, "/echo.Echo/server" if k == ":path" else v) for k, v in REQUEST])
        ask = b"200000000"
        message = b"\0" + len(ask).to_bytes(4, "big") + ask
        raw.send(HeadersFrame(1, data=block, flags=["END_HEADERS"]).serialize())
        raw.send(WindowUpdateFrame(0, window_increment=2**30).serialize())
        raw.send(WindowUpdateFrame(1, window_increment=2**30).serialize())
        raw.send(DataFrame(1, data=message, flags=["END_STREAM"]).serialize())
        time_to_fill = time.monotonic() + 2
        sizes: list[float] = []
        while time.monotonic() < time_to_fill:
            start = time.monotonic()
            assert honest.unary(b"beside it", timeout=5) == b"beside it"
            assert time.monotonic() - start < 1
            sizes.append(p.rss_mib())
        assert sizes[-1] < sizes[0] + 8, f"from {sizes[0]:.1f} to {sizes[-1]:.1f} MiB"
        raw.close()
        wait_until(lambda: p.metric("ewma_proxy_requests_in_flight") == 0, 5, "the stalled call is over")


def test_new_calls_leave_a_stopped_server_within_a_second() -> None:
    """SIGSTOP: the kernel still acknowledges, so only the missing answers tell."""
    with (
        echo_process() as (stopped, process),
        echo_server("b") as (good, _),
        proxy([stopped, good]) as p,
        client(p.port) as c,
    ):
        for _ in range(50):
            c.unary(b"x", timeout=5)
        process.send_signal(signal.SIGSTOP)
        since = time.monotonic()
        pending = []
        while time.monotonic() < since + 1:
            pending.append(c.unary.future(b"x", timeout=30))
            threading.Event().wait(0.01)
        late = [c.unary.future(b"x", timeout=30) for _ in range(200)]
        for call in late:
            with contextlib.suppress(grpc.FutureTimeoutError):
                call.result(timeout=0.05)
        lost = sum(1 for call in late if not call.done())
        assert lost <= 4, f"{lost} of 200 calls still went to the stopped server after a second"
        process.send_signal(signal.SIGCONT)
        assert all(call.result(timeout=10) == b"x" for call in [*pending, *late])


@pytest.fixture
def namespace() -> Iterator[tuple[str, str]]:
    """A network namespace joined by a pair of links: its name and address."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    ip = needs("ip", "apt-get install iproute2")
    needs("nft", "apt-get install nftables")
    name, number = f"ewma-{os.getpid()}", os.getpid() % 200
    here, there = f"10.231.{number}.1", f"10.231.{number}.2"

    def run(*words: str) -> None:
        subprocess.run(words, check=True, capture_output=True, timeout=10)

    made = subprocess.run([ip, "netns", "add", name], capture_output=True, timeout=10, check=False)
    if made.returncode:
        pytest.skip(f"no network namespace can be made here: {made.stderr.decode().strip()}")
    try:
        run(ip, "link", "add", f"ew{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
        run(ip, "addr", "add", f"{here}/24", "dev", f"ew{number}")
        run(ip, "link", "set", f"ew{number}", "up")
        run(ip, "-n", name, "addr", "add", f"{there}/24", "dev", "eth0")
        run(ip, "-n", name, "link", "set", "eth0", "up")
        run(ip, "-n", name, "link", "set", "lo", "up")
        yield name, there
    finally:
        run(ip, "netns", "del", name)


@pytest.mark.slow
def test_a_black_hole_fails_its_pending_calls_within_10_seconds_and_new_ones_move_at_once(
    namespace: tuple[str, str],
) -> None:
    name, there = namespace
    inside = ("ip", "netns", "exec", name)
    with (
        echo_process(*inside, host=there) as (far, _),
        echo_server("near") as (near, _),
        proxy([far, near]) as p,
        client(p.port) as c,
    ):
        for _ in range(50):
            c.unary(b"x", timeout=5)
        assert {pod for pod, _ in p.counts()} == {far, near}
        drop = "add table ip t; add chain ip t c { type filter hook input priority 0; }; add rule ip t c drop"
        subprocess.run([*inside, "nft", drop], check=True, timeout=10)
        since = time.monotonic()
        calls = []
        while time.monotonic() < since + 2:
            calls.append((time.monotonic() - since, c.unary.future(b"x", timeout=30)))
            threading.Event().wait(0.01)
        wait_until(lambda: all(call.done() for _, call in calls), 14, "all calls have ended")
        took = time.monotonic() - since
        lost = [at for at, call in calls if call.exception() is not None]
        assert lost, "no call went to the far server"
        assert max(lost) < 1, f"a call was still sent there {max(lost):.1f} s later"
        assert took < 10, f"{took:.1f} s"
        codes = {call.exception().code() for _, call in calls if call.exception() is not None}
        assert codes == {grpc.StatusCode.UNAVAILABLE}


def test_10_000_open_streams_cost_little_each_and_give_it_back() -> None:
    """On 100 connections, to a server that takes them all and answers none."""
    waiting: list[socket.socket] = []

    def script(s: socket.socket) -> None:
        waiting.append(s)
        with contextlib.suppress(OSError):
            while s.recv(65536):
                pass

    with raw_server(script, {3: 10_000}) as server, proxy([server.address]) as p:
        base = p.rss_mib()
        raws = [Raw(p.port) for _ in range(100)]
        first = Raw(p.port)
        first.send(first.head(1))
        wait_until(lambda: p.metric("ewma_proxy_requests_in_flight") == 1, 5, "the server's limit is known")
        idle = p.rss_mib()
        for raw in raws:
            raw.send(b"".join(raw.head(1 + 2 * i) for i in range(100)))
        wait_until(lambda: p.metric("ewma_proxy_requests_in_flight") >= 9_999, 20, "10,000 streams are open")
        per_stream = (p.rss_mib() - idle) * 1024 / 10_000
        print(f"{per_stream:.2f} KiB for a stream")
        assert per_stream < 2, f"{per_stream:.2f} KiB for a stream"
        for raw in [*raws, first]:
            raw.close()
        wait_until(lambda: p.metric("ewma_proxy_requests_in_flight") == 0, 10, "all are gone")
        wait_until(lambda: p.rss_mib() < base + 8, 10, "memory is given back")


@pytest.mark.long
def test_10_000_idle_connections_cost_little_each() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 12_000:
        pytest.skip(f"the limit of open files is {hard}: ulimit -Hn 20000")
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20_000), hard))
    try:
        with echo_server("a") as (addr, _), proxy([addr]) as p, client(p.port) as honest:
            honest.unary(b"x")
            before = p.rss_mib()
            raws = [Raw(p.port) for _ in range(10_000)]
            wait_until(lambda: p.metric("ewma_proxy_connections") >= 10_000, 20, "all are accepted")
            per_connection = (p.rss_mib() - before) * 1024 / 10_000
            assert honest.unary(b"beside them", timeout=5) == b"beside them"
            for raw in raws:
                raw.close()
            wait_until(lambda: p.metric("ewma_proxy_connections") <= 1, 20, "all are gone")
            print(f"{per_connection:.2f} KiB for an idle connection")
            assert per_connection < 8
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.long
def test_honest_cancels_for_a_minute_are_never_told_to_calm_down() -> None:
    """2,000 calls a second, half of them cancelled, for a minute: budgets are per second, so longer adds nothing."""
    with echo_server("a") as (addr, _), proxy([addr]) as p:
        raw = Raw(p.port)
        threading.Thread(target=raw.goaway_code, daemon=True).start()
        raw.send(WindowUpdateFrame(0, window_increment=2**30).serialize())
        stream, start = 1, time.monotonic()
        for turn in range(60 * 40):
            out = b""
            for i in range(50):
                if i % 2:
                    out += raw.head(stream, end=False) + RstStreamFrame(stream, error_code=8).serialize()
                else:
                    out += raw.head(stream, end=False)
                    out += DataFrame(stream, data=b"\0\0\0\0\1x", flags=["END_STREAM"]).serialize()
                stream += 2
            assert raw.send(out), "the connection was ended"
            threading.Event().wait(max(0.0, start + turn * 0.025 - time.monotonic()))
        assert p.metric("ewma_proxy_protocol_faults_total") == 0
        raw.close()
