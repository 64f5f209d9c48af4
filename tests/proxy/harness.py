"""A proxy process, gRPC back ends and raw HTTP/2 peers for the tests of this folder. Knows no cluster."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.support import wait_until

ROOT = Path(__file__).resolve().parents[2]


def proxy_binary() -> str:
    """The binary under test: the installed one, else cargo's release build."""
    beside = Path(sys.executable).with_name("ewma-proxy")
    for candidate in (os.environ.get("EWMA_PROXY"), beside, ROOT / "proxy/target/release/ewma-proxy"):
        if candidate and Path(candidate).exists():
            return str(candidate)
    pytest.fail("no ewma-proxy: run `make test`, or cargo build --release in proxy/")


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class Proxy:
    """A running ewma-proxy; `port` takes clients, `admin` tells."""

    def __init__(self, endpoints: list[str], *flags: str, port: int = 0, nofile: int | None = None) -> None:
        self.port, self.admin = port or free_port(), free_port()
        limit = [needs("prlimit", "apt-get install util-linux"), f"--nofile={nofile}"] if nofile else []
        self.process = subprocess.Popen(
            [
                *limit,
                proxy_binary(),
                *("--listen", f"127.0.0.1:{self.port}", "--admin", f"127.0.0.1:{self.admin}"),
                *("--endpoints", ",".join(endpoints), *flags),
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_until(lambda: self.get("/ready") == "ready\n", 10, "the proxy is ready")

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}{path}", timeout=5) as answer:
            return str(answer.read().decode())

    def counts(self) -> dict[tuple[str, str], int]:
        """(pod, code) → requests, summed over routes."""
        found: dict[tuple[str, str], int] = {}
        pattern = r'ewma_proxy_requests_total\{.*pod="(.*?)".*code="(.*?)"\} (\d+)'
        for pod, code, n in re.findall(pattern, self.get("/metrics")):
            found[pod, code] = found.get((pod, code), 0) + int(n)
        return found

    def metric(self, name: str) -> float:
        values = re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", self.get("/metrics"), re.M)
        return sum(map(float, values))

    def rss_mib(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+)", status)
        assert found
        return int(found[1]) / 1024

    def stop(self) -> tuple[int, str]:
        """SIGTERM; the exit code and what it logged."""
        self.process.terminate()
        _, log = self.process.communicate(timeout=40)
        return self.process.returncode, log

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=10)


@contextlib.contextmanager
def proxy(endpoints: list[str], *flags: str, nofile: int | None = None) -> Iterator[Proxy]:
    p = Proxy(endpoints, *flags, nofile=nofile)
    try:
        yield p
        assert p.process.poll() is None, "the proxy died"
    finally:
        p.kill()


def _bytes(b: bytes) -> bytes:
    return b


class Echo(grpc.GenericRpcHandler):
    """/echo/<what>: unary, server-stream, client-stream, bidi, fail, slow, big; bytes in, bytes out."""

    def __init__(self, name: str, *, broken: bool = False) -> None:
        self.name = name
        self.broken = broken
        self.release = threading.Event()
        self.started = threading.Semaphore(0)
        self.cancelled = threading.Semaphore(0)
        self.calls = 0
        self.ids: Counter[str] = Counter()

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        kind: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
            "unary": (grpc.unary_unary_rpc_method_handler, self.unary),
            "fail": (grpc.unary_unary_rpc_method_handler, self.fail),
            "slow": (grpc.unary_unary_rpc_method_handler, self.slow),
            "server": (grpc.unary_stream_rpc_method_handler, self.server_stream),
            "client": (grpc.stream_unary_rpc_method_handler, self.client_stream),
            "bidi": (grpc.stream_stream_rpc_method_handler, self.bidi),
        }
        name = str(details.method).rsplit("/", 1)[-1]
        if name not in kind:
            return None
        make, do = kind[name]
        return make(do, request_deserializer=_bytes, response_serializer=_bytes)

    def _enter(self, context: grpc.ServicerContext) -> None:
        self.calls += 1
        if self.broken:
            context.abort(grpc.StatusCode.UNAVAILABLE, "broken")
        context.send_initial_metadata((("pod", self.name),))

    def unary(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.ids.update(v for k, v in context.invocation_metadata() if k == "x-id")
        self._enter(context)
        seen = [(k, v) for k, v in context.invocation_metadata() if k.startswith("x-")]
        context.set_trailing_metadata(tuple(seen))
        return request

    def fail(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.calls += 1
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "as äsked, 100 %")
        raise AssertionError

    def slow(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.calls += 1
        context.add_callback(self.cancelled.release)
        self.started.release()
        self.release.wait(20)
        return self.name.encode()

    def server_stream(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        self._enter(context)
        for i in range(int(request)):
            yield str(i).encode()

    def client_stream(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        self._enter(context)
        return str(sum(len(r) for r in requests)).encode()

    def bidi(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        self._enter(context)
        for r in requests:
            yield r[::-1]


UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


@contextlib.contextmanager
def echo_server(
    name: str, *, port: int = 0, options: list[tuple[str, Any]] | None = None, broken: bool = False
) -> Iterator[tuple[str, Echo]]:
    """A grpcio server on loopback: (address, handler). A broken one answers UNAVAILABLE at once."""
    handler = Echo(name, broken=broken)
    pool = futures.ThreadPoolExecutor(32)
    server = grpc.server(pool, handlers=(handler,), options=[*UNLIMITED, *(options or [])])
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield f"127.0.0.1:{bound}", handler
    finally:
        handler.release.set()
        server.stop(0).wait(5)
        pool.shutdown(wait=False)


class Client:
    """One grpcio channel, bytes in and out."""

    def __init__(self, port: int) -> None:
        self.channel = grpc.insecure_channel(
            f"127.0.0.1:{port}", options=[*UNLIMITED, ("grpc.use_local_subchannel_pool", 1)]
        )

    def __getattr__(self, name: str) -> Any:
        make = {
            "server": self.channel.unary_stream,
            "client": self.channel.stream_unary,
            "bidi": self.channel.stream_stream,
        }.get(name, self.channel.unary_unary)
        return make(f"/echo.Echo/{name}", request_serializer=_bytes, response_deserializer=_bytes)


@contextlib.contextmanager
def client(port: int) -> Iterator[Client]:
    c = Client(port)
    try:
        yield c
    finally:
        c.channel.close()


def needs(program: str, how: str) -> str:
    """The path of a program, or a skip that says how to get it."""
    found = shutil.which(program)
    if not found:
        pytest.skip(f"no {program}: {how}")
    return found
