"""Hostile HTTP/2 peers: floods, bombs, nonsense. The proxy ends them, stays small, and serves its neighbours.

Frames are made with hyperframe and hpack. Classes and lessons: CVE-2023-44487 (rapid reset), CVE-2024-27316
(CONTINUATION), CVE-2016-6581 (HPACK bomb), CVE-2019-9512/-9513/-9515 (PING, PRIORITY, SETTINGS), CVE-2019-9518
(empty frames), CVE-2025-8671 (MadeYouReset: the client makes us reset). Servers: test_hostile_upstream.py.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tests.proxy.harness import Client, Proxy, client, echo_server, proxy
from tests.proxy.raw import REQUEST, Raw


@contextlib.contextmanager
def stage() -> Iterator[tuple[Proxy, Client]]:
    """A proxy with a server and an honest client that is served before and after."""
    with echo_server("a") as (addr, _), proxy([addr]) as p, client(p.port) as honest:
        assert honest.unary(b"before") == b"before"
        small = p.rss_mib()
        yield p, honest
        assert honest.unary(b"after", timeout=5) == b"after"
        assert p.rss_mib() < small + 32


CALM, PROTOCOL, COMPRESSION, SIZE, FLOW = 11, 1, 9, 6, 3


def rapid_reset(raw: Raw) -> Iterator[bytes]:
    for i in range(200):
        out = b""
        for j in range(1000):
            stream = 1 + 2 * (i * 1000 + j)
            out += raw.head(stream, end=False) + RstStreamFrame(stream, error_code=8).serialize()
        yield out


def made_you_reset(raw: Raw) -> Iterator[bytes]:
    """Each request is well-formed; what follows it makes the receiver reset the stream."""
    for i in range(200):
        out = b""
        for j in range(0, 1000, 4):
            stream = 1 + 2 * (i * 1000 + j)
            out += raw.head(stream) + WindowUpdateFrame(stream, window_increment=2**31 - 1).serialize()
            out += raw.head(stream + 2, end=False) + b"\0\0\4\x08\0" + struct.pack(">II", stream + 2, 0)
            out += raw.head(stream + 4) + DataFrame(stream + 4, data=b"after the end").serialize()
            out += raw.head(stream + 6) + PriorityFrame(stream + 6, depends_on=stream + 6).serialize()
        yield out


def priorities(raw: Raw) -> Iterator[bytes]:
    for i in range(1000):
        yield PriorityFrame(2 * i + 1, depends_on=0, stream_weight=9).serialize() * 1000


def unknown_frames(raw: Raw) -> Iterator[bytes]:
    for _ in range(1000):
        yield b"\0\0\0\x42\0\0\0\0\1" * 1000


def goaways(raw: Raw) -> Iterator[bytes]:
    for _ in range(1000):
        yield (b"\0\0\x08\7\0\0\0\0\0" + bytes(8)) * 1000


def late_data(raw: Raw) -> Iterator[bytes]:
    """Empty DATA with END_STREAM on a stream that was reset long ago."""
    yield raw.head(1, end=False) + RstStreamFrame(1, error_code=8).serialize()
    for _ in range(1000):
        yield DataFrame(1, data=b"", flags=["END_STREAM"]).serialize() * 1000


def endless_continuation(raw: Raw) -> Iterator[bytes]:
    yield HeadersFrame(1, data=raw.encoder.encode(REQUEST)).serialize()
    for _ in range(10_000):
        yield ContinuationFrame(1, data=b"").serialize() * 100


def huge_continuation(raw: Raw) -> Iterator[bytes]:
    yield HeadersFrame(1, data=raw.encoder.encode(REQUEST)).serialize()
    for _ in range(1000):
        yield ContinuationFrame(1, data=b"\x00\x01a\x7f\x80\x00" + b"b" * 16000).serialize()


def pings_unread(raw: Raw) -> Iterator[bytes]:
    for _ in range(2000):
        yield PingFrame(0, opaque_data=b"12345678").serialize() * 1000


def settings(raw: Raw) -> Iterator[bytes]:
    for _ in range(1000):
        yield SettingsFrame(0, settings={3: 100}).serialize() * 1000


def empty_data(raw: Raw) -> Iterator[bytes]:
    yield raw.head(1, end=False)
    for _ in range(1000):
        yield DataFrame(1, data=b"").serialize() * 1000


def window_overflow(raw: Raw) -> Iterator[bytes]:
    yield WindowUpdateFrame(0, window_increment=2**31 - 1).serialize() * 2


def unannounced_data(raw: Raw) -> Iterator[bytes]:
    yield DataFrame(7, data=b"x").serialize()


def not_hpack(raw: Raw) -> Iterator[bytes]:
    yield HeadersFrame(1, data=b"\xff\xff\xff\xff\xff\xff", flags=["END_HEADERS"]).serialize()


def too_long_frame(raw: Raw) -> Iterator[bytes]:
    yield b"\x00\xff\xff\x00\x00\x00\x00\x00\x01" + b"x" * 65535


@pytest.mark.parametrize(
    ("attack", "codes"),
    [
        (rapid_reset, {CALM}),
        (made_you_reset, {CALM}),
        (priorities, {CALM}),
        (unknown_frames, {CALM}),
        (goaways, {CALM}),
        (late_data, {CALM}),
        (endless_continuation, {CALM}),
        (huge_continuation, {CALM}),
        (pings_unread, {CALM}),
        (settings, {CALM}),
        (empty_data, {CALM}),
        (window_overflow, {FLOW}),
        (unannounced_data, {PROTOCOL}),
        (not_hpack, {COMPRESSION}),
        (too_long_frame, {SIZE}),
    ],
    ids=lambda v: getattr(v, "__name__", ""),
)
def test_an_attack_is_ended_with_goaway_and_neighbours_are_served(
    attack: Callable[[Raw], Iterator[bytes]], codes: set[int]
) -> None:
    with stage() as (p, honest):
        raw = Raw(p.port)
        reader: list[int | None] = []
        thread = threading.Thread(target=lambda: reader.append(raw.goaway_code()))
        if attack is not pings_unread:
            thread.start()
        for data in attack(raw):
            if not raw.send(data):
                break
        if attack is pings_unread:
            thread.start()
        slowest = 0.0
        for _ in range(20):
            start = time.monotonic()
            honest.unary(b"neighbour", timeout=5)
            slowest = max(slowest, time.monotonic() - start)
        thread.join(timeout=20)
        raw.close()
        # A reset can swallow the GOAWAY when we were still writing; the connection has ended either way.
        assert reader, "the connection was not ended"
        assert reader[0] in codes | {None}
        assert slowest < 1
        assert p.metric("ewma_proxy_protocol_faults_total") >= 1


def test_an_hpack_bomb_costs_its_stream_and_no_memory() -> None:
    with stage() as (p, _):
        raw = Raw(p.port)
        raw.send(
            HeadersFrame(1, data=raw.encoder.encode([*REQUEST, ("x", "y" * 3900)]), flags=["END_HEADERS"]).serialize()
        )
        for stream in range(3, 101, 2):
            block = raw.encoder.encode(REQUEST) + b"\xbe" * 16000
            raw.send(HeadersFrame(stream, data=block, flags=["END_HEADERS"]).serialize())
        raw.send(Frame.__new__(PingFrame).__class__(0, opaque_data=b"still on").serialize())
        raw.socket.settimeout(10)
        data = b""
        while b"still on" not in data:
            data += raw.socket.recv(65536)
        raw.close()


def test_half_of_2000_calls_a_second_cancelled_is_honest() -> None:
    with stage() as (p, _):
        raw = Raw(p.port)
        threading.Thread(target=raw.goaway_code, daemon=True).start()
        stream = 1
        for _ in range(40):
            out = b""
            for _ in range(50):
                out += raw.head(stream, end=False) + RstStreamFrame(stream, error_code=8).serialize()
                stream += 2
            assert raw.send(out)
            threading.Event().wait(0.025)
        assert p.metric("ewma_proxy_protocol_faults_total") == 0
        raw.close()


def test_a_server_that_breaks_the_protocol_costs_its_own_calls_only() -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def nonsense() -> None:
        with contextlib.suppress(OSError):
            while True:
                s, _ = listener.accept()
                s.sendall(SettingsFrame(0).serialize() + DataFrame(99, data=b"who?").serialize())

    threading.Thread(target=nonsense, daemon=True).start()
    bad = f"127.0.0.1:{listener.getsockname()[1]}"
    with echo_server("a") as (good, _), proxy([good, bad]) as p, client(p.port) as c:
        ok = 0
        for _ in range(100):
            with contextlib.suppress(Exception):
                ok += c.unary(b"x", timeout=5) == b"x"
        assert ok >= 50
        assert p.rss_mib() < 20
    listener.close()


def test_many_idle_connections_cost_little_each_and_are_given_back() -> None:
    with stage() as (p, _):
        before = p.rss_mib()
        raws = [Raw(p.port) for _ in range(400)]
        per_connection = (p.rss_mib() - before) * 1024 / 400
        assert per_connection < 16, f"{per_connection:.1f} KiB"
        for raw in raws:
            raw.close()
