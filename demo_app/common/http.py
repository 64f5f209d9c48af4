"""An HTTP server inside a loop that is already running. Knows no routes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from demo_app.common import sockets


class HttpServer:
    """uvicorn on a socket bound before the start, so that a taken port is known at once.

    address: HOST:PORT as bound. Signals stay with the process: see lifecycle.
    """

    def __init__(self, app: ASGIApp, address: str, what: str) -> None:
        self._socket: socket.socket = sockets.bind(address, what)
        self.address = sockets.bound_address(self._socket)
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=5,
        )
        self._server = _QuietServer(config)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Serve until stop(). Connections made before this point wait in the backlog."""
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]))

    async def stop(self) -> None:
        """Finish the requests under way (5 s at most) and close."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task
        self._socket.close()


class _QuietServer(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
