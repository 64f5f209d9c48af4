"""One child process in a session of its own, and the time it has left.

The leader's end is learned from a pidfd (pidfd_open(2)), so nothing polls and no thread waits. When the
leader ends, what is left of its process group is killed, as the end of process 1 ends a container. Knows
nothing of pods. Must be used on the event loop.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Exit:
    """How a process ended. code: as a shell has it (128 + signal). cpu_seconds: it and the children it waited
    for.
    """

    code: int
    signal: int | None
    cpu_seconds: float


class Child:
    """A running process; `exited` is done once it ended and was reaped."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.pid = process.pid
        self._pidfd = os.pidfd_open(process.pid)
        self._loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[Exit] = self._loop.create_future()
        self._loop.add_reader(self._pidfd, self._reap)

    @classmethod
    def start(cls, argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, output: int) -> Child:
        """Start argv (found on env's PATH) with stdout and stderr going to the descriptor `output`. Raises
        OSError.
        """
        process = subprocess.Popen(
            argv,
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        return cls(process)

    @property
    def running(self) -> bool:
        return not self.exited.done()

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to the process and everyone in its group; nothing happens if it has ended."""
        if self.running:
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:
                pass

    async def stop(self, deadline: Deadline) -> None:
        """SIGTERM, and SIGKILL once the deadline passed. Returns when the process ended."""
        if not deadline.is_past:
            self.signal_group(signal.SIGTERM)
            await first_of(self.exited, deadline.passed())
        self.signal_group(signal.SIGKILL)
        await asyncio.shield(self.exited)

    def _reap(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        try:  # before the pid is free again: the group's number cannot be anybody else's yet
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        _, status, usage = os.wait4(self.pid, 0)
        self._process.returncode = code = os.waitstatus_to_exitcode(status)
        by_signal = -code if code < 0 else None
        self.exited.set_result(Exit(128 - code if code < 0 else code, by_signal, usage.ru_utime + usage.ru_stime))


class Deadline:
    """A moment that can be moved nearer while someone waits for it (a second, more urgent delete)."""

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()
        self._at = float("inf")
        self._timer: asyncio.TimerHandle | None = None
        self.shorten(seconds)

    @property
    def is_past(self) -> bool:
        return self._event.is_set()

    def remaining(self) -> float:
        return max(0.0, self._at - self._loop.time())

    def shorten(self, seconds: float) -> None:
        """Not later than `seconds` from now; a later moment changes nothing."""
        at = self._loop.time() + seconds
        if at >= self._at:
            return
        self._at = at
        if self._timer is not None:
            self._timer.cancel()
        if seconds <= 0:
            self._event.set()
        else:
            self._timer = self._loop.call_at(at, self._event.set)

    async def passed(self) -> None:
        await self._event.wait()


async def first_of(future: asyncio.Future[Exit], *others: Coroutine[Any, Any, Any]) -> bool:
    """Wait for the future or any of the coroutines, whichever is first; the rest are cancelled, the future is
    not.

    Returns whether the future is done.
    """
    tasks = [asyncio.create_task(other) for other in others]
    try:
        await asyncio.wait({future, *tasks}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return future.done()
