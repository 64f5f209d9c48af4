"""What the proxies balance over: three nghttpd that answer every POST with a file and gRPC's trailers, and for real
gRPC calls grpc-go's interop server under three addresses.

Knows how to start processes on a core; nothing of proxies or load.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from bench.tools import find

PORTS = (7101, 7102, 7103)
GRPC_PORT = 7104
#: Three endpoints that are grpc-go's interop server.
GRPC_ENDPOINTS = [f"127.0.0.{n}:{GRPC_PORT}" for n in (1, 2, 3)]
SIZES = (10, 1024, 65536)


def message(size: int) -> bytes:
    """A gRPC message that holds a protobuf string in field 1; `size` bytes of text."""
    varint, n = b"", size
    while n > 127:
        varint, n = varint + bytes([n & 127 | 128]), n >> 7
    body = b"\x0a" + varint + bytes([n]) + b"x" * size
    return b"\0" + len(body).to_bytes(4, "big") + body


def endpoints(count: int) -> list[str]:
    """So many addresses of the same three processes."""
    return [f"127.{1 + i // 60000}.{i // 250 % 240}.{1 + i % 250}:{PORTS[i % 3]}" for i in range(count)]


def write_files(folder: Path) -> dict[int, Path]:
    """The messages by size."""
    files = {size: folder / f"{size}.grpc" for size in SIZES}
    for size, path in files.items():
        path.write_bytes(message(size))
    (folder / "types").write_text("application/grpc grpc\n")
    return files


@contextlib.contextmanager
def process(command: list[str], core: int, port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server on a core, once it listens on 127.0.0.1:port, until the block ends."""
    with log.open("wb") as out:
        child = subprocess.Popen(["taskset", "-c", str(core), *command], stdout=out, stderr=subprocess.STDOUT)
    try:
        _wait_for(port, child, command[0], log)
        yield child
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(2)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _wait_for(port: int, child: subprocess.Popen[bytes], name: str, log: Path, patience_s: float = 15) -> None:
    until = time.monotonic() + patience_s
    while True:
        if child.poll() is not None:
            raise OSError(f"{name} ended with {child.returncode}: {log.read_text()[-500:]}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > until:
                raise OSError(f"{name} does not listen on {port}: {log.read_text()[-500:]}") from None
            time.sleep(0.02)


@contextlib.contextmanager
def running(folder: Path, core: int) -> Iterator[None]:
    """The back ends."""
    with contextlib.ExitStack() as stack:
        for port in PORTS:
            flags = ["-a", "0.0.0.0", "--no-tls", "-n1", "-m", "10000", "--trailer=grpc-status: 0"]
            flags += ["-d", str(folder), f"--mime-types-file={folder}/types", "-w20", "-W24"]
            stack.enter_context(process([find("nghttpd"), *flags, str(port)], core, port, folder / f"nghttpd-{port}"))
        command = [find("interop-server"), "--port", str(GRPC_PORT)]
        stack.enter_context(process(command, core, GRPC_PORT, folder / "interop-server"))
        yield
