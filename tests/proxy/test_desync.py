"""Requests that two readers could read differently: 200 of them, and none reaches a server, altered or not.

Header injection, request smuggling and confusion of authorities (HAProxy CVE-2021-39240 and CVE-2023-25725, Netty
CVE-2021-21295, Varnish CVE-2022-45060, grpc-go CVE-2026-33186, h2 0.4.20). Each is malformed by RFC 9113 §8, so its
stream is reset and its connection goes on.
"""

from __future__ import annotations

import itertools
import socket
import threading

from hpack import Encoder
from hyperframe.frame import DataFrame, HeadersFrame, PingFrame

from tests.proxy.harness import proxy
from tests.proxy.raw import Raw, frames, raw_server

BASE: list[tuple[bytes, bytes]] = [
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/echo.Echo/unary"),
    (b":authority", b"a"),
]
Fields = list[tuple[bytes, bytes]]


def replaced(name: bytes, value: bytes) -> Fields:
    return [(n, value if n == name else v) for n, v in BASE]


def malformed() -> list[tuple[Fields, bytes]]:
    """(fields, body)."""
    heads: list[Fields] = []
    bad_bytes = [b"\r", b"\n", b"\0", b"\r\n", b"\r\nx: y", b"\n\nGET / HTTP/1.1", b"\0x"]
    for bad in bad_bytes:
        for value in (b"a" + bad, bad + b"a", b"a" + bad + b"b"):
            heads += [[*BASE, (b"x", value)], replaced(b":path", b"/" + value), replaced(b":authority", value)]
            heads += [[*BASE, (b"x" + bad, b"y")]]
    for char in b' \t"(),/:;<=>?@[\\]{}\x7f\x80\xffABZ':
        heads += [[*BASE, (b"x" + bytes([char]) + b"y", b"z")]]
    for name in (b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"):
        for value in (b"close", b"chunked", b"", b"h2c"):
            heads += [[*BASE, (name, value)]]
    heads += [[*BASE, (b"te", v)] for v in (b"gzip", b"trailers, deflate", b"", b"chunked")]
    heads += [[*BASE, (b"", b"x")], [*BASE, (b"Content-Length", b"0")], [*BASE, (b"x", b" y")], [*BASE, (b"x", b"y\t")]]
    for one, two in itertools.permutations(
        (b"0", b"1", b"+1", b"0x1", b"1 ", b"-1", b"1,1", b"99999999999999999999"), 2
    ):
        if one != two:
            heads += [[*BASE, (b"content-length", one), (b"content-length", two)]]
    heads += [[*BASE[:i], *BASE[i + 1 :]] for i in range(3)]
    heads += [[*BASE, field] for field in BASE]
    heads += [
        [(b"x", b"y"), *BASE],
        [*BASE, (b":status", b"200")],
        [*BASE, (b":protocol", b"websocket")],
        [*BASE, (b":x", b"")],
    ]
    heads += [replaced(b":path", p) for p in (b"", b"x", b"*", b"http://b/", b"echo.Echo/unary", b"?x", b"\\x")]
    heads += [[*BASE, (b"host", h)] for h in (b"b", b"a:80", b"", b"a,b", b"a@b")]
    found = [(h, b"") for h in heads]
    lengths = [(b"1", b""), (b"0", b"x"), (b"5", b"xxxx"), (b"5", b"xxxxxx"), (b"4294967296", b"x")]
    found += [([*BASE, (b"content-length", n)], body) for n, body in lengths]
    return found


def test_of_200_ambiguous_requests_none_reaches_a_server() -> None:
    heads: list[bytes] = []
    seen = threading.Event()

    def script(s: socket.socket) -> None:
        heads.append(b"a request")
        seen.set()
        while s.recv(65536):
            pass

    corpus = malformed()
    assert len(corpus) >= 200
    passed = []
    with raw_server(script) as server, proxy([server.address]) as p:
        for fields, body in corpus:
            raw = Raw(p.port)
            encoder = Encoder()
            head = HeadersFrame(1, data=encoder.encode(fields), flags=["END_HEADERS"])
            out = head.serialize()
            if body or any(n == b"content-length" for n, _ in fields):
                # With a body that is too short or too long, the head is well-formed, but never the whole.
                out += DataFrame(1, data=body, flags=["END_STREAM"]).serialize()
            else:
                head.flags.add("END_STREAM")
                out = head.serialize()
            raw.send(out + PingFrame(0, opaque_data=b"are you?").serialize())
            data = b""
            raw.socket.settimeout(5)
            while b"are you?" not in data:
                more = raw.socket.recv(65536)
                assert more, f"the connection ended for {fields}"
                data += more
            if not any(kind == 3 and stream == 1 for kind, _, stream, _ in frames(data)):
                passed.append((fields, body))
            raw.close()
        assert passed == []
        assert p.metric("ewma_proxy_protocol_faults_total") == 0
        assert heads == []
        # The scene is able to show the contrary.
        control = Raw(p.port)
        control.send(HeadersFrame(1, data=Encoder().encode(BASE), flags=["END_HEADERS", "END_STREAM"]).serialize())
        assert seen.wait(5)
        control.close()
