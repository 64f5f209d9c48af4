"""PINGs to a stock grpc-go server, which ends a connection at the third that comes without data in between."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import grpc

from tests.conformance.tools import running, tool
from tests.proxy.harness import free_port, proxy

# grpc.testing.StreamingOutputCallRequest: one that asks for nothing, and one that asks for an answer of one byte.
NOTHING, ONE_BYTE = b"", b"\x12\x02\x08\x01"
PAUSE_S, MESSAGES = 2.2, 6


def test_a_stock_grpc_go_server_never_has_too_many_pings() -> None:
    port = free_port()
    with (
        running([tool("interop-server"), f"--port={port}"], port),
        proxy([f"127.0.0.1:{port}"], "--ping-after-seconds", "1") as p,
        grpc.insecure_channel(f"127.0.0.1:{p.port}") as channel,
    ):
        call = channel.stream_stream("/grpc.testing.TestService/FullDuplexCall", lambda b: b, lambda b: b)

        def messages(what: bytes) -> Iterator[bytes]:
            for _ in range(MESSAGES):
                yield what
                threading.Event().wait(PAUSE_S)

        # The server says nothing, so that one PING is all it bears in this time.
        assert list(call(messages(NOTHING), timeout=60)) == []
        assert p.metric("ewma_proxy_pings_total") == 1
        # The server answers each message and is silent again: each answer clears its count.
        assert len(list(call(messages(ONE_BYTE), timeout=60))) == MESSAGES
        assert p.metric("ewma_proxy_pings_total") >= MESSAGES - 1
        assert p.metric("ewma_proxy_upstream_connects_total") == 1, "the server ended the connection"
        assert p.metric("ewma_proxy_stalled_total") == 0
