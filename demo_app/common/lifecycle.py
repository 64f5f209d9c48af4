"""How a process starts, is asked to stop, and ends with a code and at most one line. Knows no server."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from demo_app.common.errors import DemoError


class StopSignals:
    """SIGTERM and SIGINT: the first asks for a drain, the second for a quick end."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.quick = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked)

    def _asked(self) -> None:
        (self.quick if self.stop.is_set() else self.stop).set()


async def wait_for(event: asyncio.Event, seconds: float) -> bool:
    """Wait until the event is set or the seconds are over; whether it is set."""
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
    return True


def run(main: Callable[[], Coroutine[Any, Any, int]]) -> None:
    """Run the process to its end and exit: the code of `main`, or that of a DemoError after its one line."""
    try:
        code = asyncio.run(main())
    except DemoError as e:
        print(f"error: {e}", file=sys.stderr)
        code = e.exit_code
    sys.exit(code)


def say(line: str) -> None:
    """One line to the log (standard error, so that --json output stays clean)."""
    print(line, file=sys.stderr, flush=True)


def pod_name() -> str:
    """POD_NAME of the downward API, else the host name."""
    return os.environ.get("POD_NAME") or socket.gethostname()
