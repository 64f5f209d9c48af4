"""What runs inside the namespaces: `world` serves, all else is a client that prints what it saw as JSON.

world                    gRPC on :8080 and :8081, HTTP/1.1 on :8082, a greeter on :2525, an echo on :8443 and
                         :7777, the API server
grpc TARGET N [AUTHORITY]   N calls on one channel: pod → calls
http HOST PORT N NAME    N GETs on one connection with this Host: pod → answers
greeting HOST PORT       what the server says first, and after how many seconds
echo HOST PORT HEX       what comes back, as hex
accept PORT              prints `ready`, accepts one connection, prints its peer's address
outcome HOST PORT        what becomes of a connection and a byte on it
until HOST PORT          prints `trying`, then tries every 20 ms until a byte comes back; at most 10 s

Imports what it needs where it needs it: most clients start a hundred times and want a socket only.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def tcp_server(port: int, serve: Callable[[socket.socket], None], address: str = "::") -> None:
    listener = socket.create_server((address, port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64)

    def handle(s: socket.socket) -> None:
        with contextlib.suppress(OSError), s:
            serve(s)

    def accept() -> None:
        while True:
            threading.Thread(target=handle, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def greet(s: socket.socket) -> None:
    s.sendall(b"220 hello\r\n")
    s.recv(100)


def echo(s: socket.socket) -> None:
    while data := s.recv(65536):
        s.sendall(data)


@contextlib.contextmanager
def grpc_servers() -> Iterator[None]:
    from concurrent import futures

    import grpc

    from tests.netns.support import SERVERS
    from tests.proxy.harness import Echo

    running = []
    for n in range(SERVERS):
        server = grpc.server(futures.ThreadPoolExecutor(8), handlers=(Echo(f"pod-{n}"),))
        for address in (f"10.77.1.{n + 1}", f"[fd77:1::{n + 1}]"):
            for port in (8080, 8081):
                server.add_insecure_port(f"{address}:{port}")
        server.start()
        running.append(server)
    try:
        yield
    finally:
        for server in running:
            server.stop(0)


def http_server(n: int, address: str) -> None:
    def serve(s: socket.socket) -> None:
        while (head := s.recv(65536)) and head.endswith(b"\r\n\r\n"):
            name = f"pod-{n}".encode()
            s.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(name), name))

    tcp_server(8082, serve, address)


def serve_world() -> None:
    sys.path.insert(0, str(ROOT))
    from tests.netns.support import api_server

    tcp_server(2525, greet)
    tcp_server(8443, echo)
    tcp_server(7777, echo)
    for n in range(3):
        for address in (f"::ffff:10.77.1.{n + 1}", f"fd77:1::{n + 1}"):
            http_server(n, address)
    with api_server() as api, grpc_servers():
        threading.Thread(target=api.serve_forever, daemon=True).start()
        print("ready", flush=True)
        sys.stdin.read()


def call_grpc(target: str, n: str, authority: str = "") -> dict[str, int]:
    import grpc

    options: list[tuple[str, Any]] = [("grpc.default_authority", authority)] if authority else []
    seen: Counter[str] = Counter()
    with grpc.insecure_channel(target, options=options) as channel:
        method = channel.unary_unary("/echo.Echo/unary")
        for _ in range(int(n)):
            _, call = method.with_call(b"x", timeout=5)
            seen[str(dict(call.initial_metadata())["pod"])] += 1
    return dict(seen)


def call_http(host: str, port: str, n: str, name: str) -> dict[str, int]:
    import http.client

    connection = http.client.HTTPConnection(host, int(port), timeout=5)
    seen: Counter[str] = Counter()
    for _ in range(int(n)):
        connection.request("GET", "/", headers={"host": name})
        seen[connection.getresponse().read().decode()] += 1
    return dict(seen)


def greeting(host: str, port: str) -> list[Any]:
    begin = time.monotonic()
    with socket.create_connection((host, int(port)), timeout=5) as s:
        return [s.recv(100).decode(), time.monotonic() - begin]


def echoed(host: str, port: str, sent: str) -> str:
    data, back = bytes.fromhex(sent), b""
    with socket.create_connection((host, int(port)), timeout=5) as s:
        s.sendall(data)
        while len(back) < len(data) and (piece := s.recv(100)):
            back += piece
    return back.hex()


def outcome(host: str, port: str) -> str:
    """`open`, or the error's name, for a connection and the first word on it."""
    try:
        with socket.create_connection((host, int(port)), timeout=5) as s:
            s.sendall(b"\x00")
            return "open" if s.recv(1) else "closed"
    except OSError as e:
        return type(e).__name__


def until(host: str, port: str) -> str:
    print("trying", flush=True)
    deadline = time.monotonic() + 10
    while (last := outcome(host, port)) != "open" and time.monotonic() < deadline:
        time.sleep(0.02)
    return last


def accept_one(port: str) -> str:
    with socket.create_server(("", int(port))) as listener:
        listener.settimeout(10)
        print("ready", flush=True)
        s, peer = listener.accept()
        s.close()
        return str(peer[0])


def main(kind: str, *args: str) -> None:
    if kind == "world":
        serve_world()
        return
    clients: dict[str, Callable[..., Any]] = {
        "grpc": call_grpc,
        "http": call_http,
        "greeting": greeting,
        "echo": echoed,
        "outcome": outcome,
        "accept": accept_one,
        "until": until,
    }
    print(json.dumps(clients[kind](*args)))


if __name__ == "__main__":
    main(*sys.argv[1:])
