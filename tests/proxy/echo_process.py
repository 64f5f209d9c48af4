"""The echo server as a program: `python -m tests.proxy.echo_process HOST PORT`; says `ready`, serves until killed."""

from __future__ import annotations

import sys
import threading
from concurrent import futures

import grpc

from tests.proxy.harness import Echo


def main() -> None:
    host, port = sys.argv[1:]
    server = grpc.server(futures.ThreadPoolExecutor(16), handlers=(Echo(f"{host}:{port}"),))
    server.add_insecure_port(f"{host}:{port}")
    server.start()
    print("ready", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
