"""Puts the application on a socket: TLS, uvicorn in the running loop, and an orderly stop.

Signals stay with whoever owns the process; so do the certificates.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Generator
from pathlib import Path
from typing import Protocol

import uvicorn
from starlette.applications import Starlette

from lab.clusters.local.api.errors import ApiError

STOP_GRACE_S = 2
"""How long open requests have to end before their connections are cut."""

_START_TIMEOUT_S = 10.0


class ServeError(ApiError):
    """The server could not be put on its socket."""


class TlsFiles(Protocol):
    """PEM files: the server's certificate chain and its private key."""

    @property
    def cert(self) -> Path: ...

    @property
    def key(self) -> Path: ...


class RunningServer:
    """A server that listens. host and port are the real ones (port 0 was replaced)."""

    def __init__(self, app: Starlette, server: uvicorn.Server, sock: socket.socket) -> None:
        self._app = app
        self._server = server
        self._task = asyncio.create_task(server.serve(sockets=[sock]), name="api-server")
        self.host, self.port = sock.getsockname()[:2]

    @property
    def url(self) -> str:
        return f"https://{self.host}:{self.port}"

    async def stop(self) -> None:
        """End the watches, let open requests finish for STOP_GRACE_S, close. Safe to call twice."""
        self._app.state.close_watches()
        self._server.should_exit = True
        await self.wait()

    async def wait(self) -> None:
        """Until the server has ended."""
        await asyncio.wait({self._task})


async def serve(app: Starlette, host: str, port: int, tls: TlsFiles) -> RunningServer:
    """Listen on https://host:port and return once requests are answered. port 0: any free one.

    Raises ServeError when the address cannot be had.
    """
    config = uvicorn.Config(
        app,
        ssl_certfile=tls.cert,
        ssl_keyfile=tls.key,
        ssl_version=ssl.PROTOCOL_TLS_SERVER,
        http="h11",
        ws="none",
        log_config=None,
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=STOP_GRACE_S,
    )
    server = _Server(config)
    running = RunningServer(app, server, _listen(host, port))
    ready = asyncio.create_task(server.ready.wait())
    try:
        async with asyncio.timeout(_START_TIMEOUT_S):
            await asyncio.wait({ready, running._task}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        ready.cancel()
    if not server.ready.is_set():
        raise ServeError(f"the API server did not start on {host}:{port}; see its log for the cause")
    return running


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, telling when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.ready.set()


def _listen(host: str, port: int) -> socket.socket:
    # With the protocol named, asyncio turns Nagle's algorithm off on what it accepts; else each answer, being written
    # in two pieces, waits 40 ms for the client's delayed acknowledgement.
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, proto=socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(512)
    except OSError as e:
        sock.close()
        raise ServeError(f"the API server cannot listen on {host}:{port}: {e.strerror}; is the address taken?") from e
    sock.setblocking(False)
    return sock
