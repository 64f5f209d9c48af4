"""Servers that flood, bomb or babble: each costs its own calls; the proxy stays small and the other server serves.

The classes of test_hostile.py from the other side, and clients that try to harm others by the connection to a server
that they share (CVE-2023-35945, CVE-2024-7246, CVE-2023-32732, CVE-2023-33953 and their kin).
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import grpc
import pytest
from hpack import Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tests.proxy.harness import client, echo_server, proxy
from tests.proxy.raw import REQUEST, Raw, raw_server
from tests.support import wait_until

RESPONSE = [(":status", "200"), ("content-type", "application/grpc")]


def head(fields: list[tuple[str, str]] = RESPONSE) -> bytes:
    return bytes(HeadersFrame(1, data=Encoder().encode(fields), flags=["END_HEADERS"]).serialize())


def pings() -> Iterator[bytes]:
    for _ in range(1000):
        yield PingFrame(0, opaque_data=b"12345678").serialize() * 1000


def settings() -> Iterator[bytes]:
    for _ in range(1000):
        yield SettingsFrame(0, settings={4: 65535}).serialize() * 1000


def priorities() -> Iterator[bytes]:
    for _ in range(1000):
        yield PriorityFrame(1, depends_on=0, stream_weight=9).serialize() * 1000


def resets() -> Iterator[bytes]:
    for _ in range(1000):
        yield RstStreamFrame(1, error_code=8).serialize() * 1000


def goaways() -> Iterator[bytes]:
    for _ in range(1000):
        yield GoAwayFrame(0, last_stream_id=2**31 - 1).serialize() * 1000


def empty_data() -> Iterator[bytes]:
    yield head()
    for _ in range(1000):
        yield DataFrame(1, data=b"").serialize() * 1000


def interim_heads() -> Iterator[bytes]:
    for _ in range(1000):
        yield head([(":status", "103")]) * 1000


def endless_continuation() -> Iterator[bytes]:
    yield HeadersFrame(1, data=b"").serialize()
    for _ in range(1000):
        yield ContinuationFrame(1, data=b"").serialize() * 1000


def hpack_bomb() -> Iterator[bytes]:
    block = Encoder().encode([*RESPONSE, ("x", "y" * 3900)])
    yield HeadersFrame(1, data=block + b"\xbe" * 12_000, flags=["END_HEADERS"]).serialize()


def reset_then_goaway() -> Iterator[bytes]:
    yield RstStreamFrame(1, error_code=2).serialize() + GoAwayFrame(0, last_stream_id=0).serialize()


def window_overrun() -> Iterator[bytes]:
    yield head()
    for _ in range(1000):
        yield DataFrame(1, data=b"z" * 16_384).serialize() * 4


def window_overflow() -> Iterator[bytes]:
    yield WindowUpdateFrame(0, window_increment=2**31 - 1).serialize() * 2


def a_push() -> Iterator[bytes]:
    yield b"\0\0\5\5\4\0\0\0\1" + struct.pack(">I", 2) + b"\x82"


def nonsense() -> Iterator[bytes]:
    yield b"HTTP/1.1 400 Bad Request\r\n\r\n" * 100


@pytest.mark.parametrize(
    "attack",
    [
        *(pings, settings, priorities, resets, goaways, empty_data, interim_heads, endless_continuation, hpack_bomb),
        *(reset_then_goaway, window_overrun, window_overflow, a_push, nonsense),
    ],
)
def test_a_hostile_server_costs_its_own_calls_only(attack: Callable[[], Iterator[bytes]]) -> None:
    def script(s: socket.socket) -> None:
        for data in attack():
            s.sendall(data)
        # What follows is up to the proxy: its end of the connection, or else ours after a while.
        s.settimeout(0.2)
        while s.recv(65536):
            pass

    with (
        raw_server(script) as bad,
        echo_server("good") as (good, _),
        proxy([bad.address, good]) as p,
        client(p.port) as c,
    ):
        before = p.rss_mib()
        served = 0
        for _ in range(40):
            with contextlib.suppress(grpc.RpcError):
                served += c.unary(b"x", timeout=2) == b"x"
        assert bad.connections >= 1, "the bad server was never called"
        assert served >= 10, f"{served} of 40 calls were served"
        codes = {code: n for (pod, code), n in p.counts().items() if pod == good}
        assert codes == {"OK": served}, "a call to the good server failed"
        assert p.rss_mib() < before + 16
        wait_until(lambda: p.metric("ewma_proxy_requests_in_flight") == 0, 5, "no call is left behind")


def poison() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Request fields of a client that wishes others ill, but for what HTTP/2 itself forbids."""
    yield "base64 that is none", [("x-bad-bin", "%%%not base64%%%")]
    yield "a timeout that is none", [("grpc-timeout", "99999999999999999999H")]
    yield "a timeout of nothing", [("grpc-timeout", "0n")]
    yield "an unknown encoding", [("grpc-encoding", "rot13")]
    yield "a long value", [("x-long", "v" * 7_000)]
    yield "more than the server takes", [("x-long", "v" * 40_000)]
    yield "many fields", [(f"x-{i}", "v") for i in range(200)]
    yield "too many fields", [(f"x-{i}", "v") for i in range(300)]
    yield "many cookies", [("cookie", f"c{i}=v") for i in range(200)]
    yield "a status from the client", [("grpc-status", "14")]
    yield "bytes above ASCII", [("x-high", "\xff\xfe")]
    yield "an empty value", [("x-empty", "")]
    yield "table churn", [(f"x-churn-{i}", "v" * 100) for i in range(60)]


def test_one_clients_poison_never_breaks_another_on_the_same_server_connection() -> None:
    with echo_server("a") as (addr, _), proxy([addr]) as p, client(p.port) as honest:
        assert honest.unary(b"before", timeout=5) == b"before"
        stop, failures, calls = threading.Event(), [], [0]

        def neighbour() -> None:
            while not stop.is_set():
                try:
                    assert honest.unary(b"neighbour", timeout=5) == b"neighbour"
                    calls[0] += 1
                except Exception as e:
                    failures.append(e)

        thread = threading.Thread(target=neighbour)
        thread.start()
        messages = [b"\0\0\0\0\1x", b"\0\xff\xff\xff\xffx", b"\7\0\0\0\1x", b"\0", b""]
        try:
            for _ in range(3):
                for what, fields in poison():
                    raw = Raw(p.port)
                    for i, message in enumerate(messages):
                        stream = 1 + 2 * i
                        block = raw.encoder.encode([*REQUEST, *[(k, v.encode("latin-1")) for k, v in fields]])
                        pieces = [block[n : n + 16_384] for n in range(0, len(block), 16_384)]
                        out = HeadersFrame(stream, data=pieces[0]).serialize()
                        out += b"".join(ContinuationFrame(stream, data=piece).serialize() for piece in pieces[1:])
                        out += ContinuationFrame(stream, data=b"", flags=["END_HEADERS"]).serialize()
                        out += DataFrame(stream, data=message, flags=["END_STREAM"]).serialize()
                        assert raw.send(out), what
                    seen = calls[0]
                    wait_until(lambda seen=seen: failures or calls[0] > seen + 1, 10, f"neighbour served beside {what}")
                    raw.close()
        finally:
            stop.set()
            thread.join(20)
        assert failures == []
        assert calls[0] > 70
        assert p.metric("ewma_proxy_upstream_connects_total") == 1, "the server ended a shared connection"
