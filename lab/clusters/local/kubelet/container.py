"""One container of a pod over its whole life: start, hooks, probes, restarts with back-off, stop.

`supervise` is the life as one coroutine; it ends when the container will not run again. `stop` may be called
at any moment of it. What a status shows is kept in `state`; the pod is told of every change. Back-off starts
at 1 s and doubles to 60 s (a real kubelet: 10 s to 5 min, its first restart at once): a lab is watched by a
person. Must not know: the store, other containers.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lab.clusters.local.api.objects import timestamp
from lab.clusters.local.kubelet.checks import Outcome, Target, check
from lab.clusters.local.kubelet.child import Child, Deadline, Exit, first_of
from lab.clusters.local.kubelet.logs import ContainerLogs
from lab.clusters.local.kubelet.probes import run_probes
from lab.clusters.local.kubelet.runtime import CannotStart
from lab.clusters.local.kubelet.status import ContainerState, Running, Terminated, Waiting

FIRST_BACKOFF_S = 1.0
LONGEST_BACKOFF_S = 60.0
QUIET_S = 120.0
"""A container that ran this long is forgiven its earlier crashes."""

LEAST_GRACE_S = 2.0
"""SIGTERM gets this long even when preStop used the grace up, as with the real kubelet."""


@dataclass(frozen=True)
class Launch:
    """All that a start needs. translate: argv as the image has it → argv here."""

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    translate: Callable[[Sequence[str]], list[str]]


class Pod(Protocol):
    """The pod as its containers see it."""

    label: str
    grace_seconds: float

    @property
    def address(self) -> str: ...

    def launch(self, container: Mapping[str, Any]) -> Launch:
        """How to start the container now. Raises CannotStart."""
        ...

    def changed(self) -> None: ...

    def note(self, kind: str, reason: str, message: str) -> None:
        """Write an Event; kind is Normal or Warning."""
        ...

    def record(self, pid: int, container: str) -> None: ...

    def forget(self, pid: int) -> None: ...


class Backoff:
    """How long to wait before the next restart."""

    def __init__(self) -> None:
        self._next = FIRST_BACKOFF_S

    def after(self, ran_for_s: float) -> float:
        if ran_for_s >= QUIET_S:
            self._next = FIRST_BACKOFF_S
        delay, self._next = self._next, min(self._next * 2, LONGEST_BACKOFF_S)
        return delay


class Container:
    def __init__(self, pod: Pod, spec: Mapping[str, Any], state: ContainerState, policy: str, logs: Path) -> None:
        self._pod = pod
        self._spec = spec
        self.state = state
        self._policy = policy  # restart policy: Always, OnFailure or Never
        self.logs = ContainerLogs(logs)
        self.child: Child | None = None
        self.cpu_seconds_before = 0.0  # of the processes that ended
        self._launch: Launch | None = None
        self._supervised = False
        self._stopping = asyncio.Event()
        self._helpers: set[asyncio.Task[Any]] = set()
        self.settled = asyncio.Event()  # its first start went well or not; the next container may start
        self.started = asyncio.Event()  # it counts as started (startup probe passed)
        self.finished = asyncio.Event()  # it will not run again

    async def supervise(self) -> None:
        """Live the container's life. Does not need cancelling: `stop` makes it return."""
        self._supervised = True
        backoff = Backoff()
        loop = asyncio.get_running_loop()
        try:
            while (launch := await self._until_startable()) is not None:
                begun = loop.time()
                await self._run_once(launch)
                self.settled.set()
                if self._stopping.is_set() or not self._wants_restart():
                    return
                delay = backoff.after(loop.time() - begun)
                failed = f"restarting failed container={self.state.name} pod={self._pod.label}"
                self._wait_state("CrashLoopBackOff", f"back-off {delay:g}s {failed}")
                self._pod.note("Warning", "BackOff", f"Back-off restarting failed container {self.state.name}")
                if await self._stopped_within(delay):
                    return
                self.state.restarts += 1
        finally:
            if isinstance(self.state.now, Waiting) and self.state.last is not None:
                self.state.now, self.state.last = self.state.last, None
            self.settled.set()
            self.started.set()
            self.finished.set()
            self._pod.changed()

    async def stop(self, deadline: Deadline) -> None:
        """End the container for good: preStop, SIGTERM, at the deadline SIGKILL. Returns once it ended."""
        self._stopping.set()
        if self.child is not None and self.child.running:
            self._pod.note("Normal", "Killing", f"Stopping container {self.state.name}")
            await self._end(self.child, deadline)
        if self._supervised:
            await self.finished.wait()

    # What probes do to it

    def set_started(self) -> None:
        self.state.started = True
        self.started.set()
        self._pod.changed()

    def set_ready(self, ready: bool) -> None:
        if self.state.ready != ready:
            self.state.ready = ready
            self._pod.changed()

    def report_unhealthy(self, probe: str, message: str) -> None:
        if not self._stopping.is_set():
            self._pod.note("Warning", "Unhealthy", f"{probe} probe failed: {message}")

    def give_up(self, probe: str) -> None:
        if self._stopping.is_set() or self.child is None:
            return
        reason = f"Container {self.state.name} failed {probe.lower()} probe, will be restarted"
        self._pod.note("Normal", "Killing", reason)
        task = asyncio.create_task(self._end(self.child, Deadline(self._pod.grace_seconds)))
        self._helpers.add(task)  # a task without a reference may be collected
        task.add_done_callback(self._helpers.discard)

    # Parts of its life

    async def _until_startable(self) -> Launch | None:
        """Wait until the container's needs are met; None when it is to be stopped first."""
        backoff = Backoff()
        while not self._stopping.is_set():
            try:
                return self._pod.launch(self._spec)
            except CannotStart as e:
                self._wait_state(e.reason, e.message)
                self._pod.note("Warning", "Failed", f"Error: {e.message}")
                self.settled.set()
                await self._stopped_within(backoff.after(0))
        return None

    async def _run_once(self, launch: Launch) -> None:
        """One process from start to end; afterwards `state` tells how it went."""
        begun = timestamp()
        log = self.logs.new_run()
        output = await log.open_pipe()
        try:
            child = Child.start(launch.argv, env=launch.env, cwd=launch.cwd, output=output)
        except (OSError, ValueError, IndexError) as e:
            await log.close(0)
            self._end_state(
                Terminated(128, None, "StartError", begun, timestamp(), "", f"cannot start {launch.argv}: {e}")
            )
            self._pod.note("Warning", "Failed", f"Error: failed to start container {self.state.name}: {e}")
            return
        finally:
            os.close(output)
        self.child, self._launch = child, launch
        self.state.container_id = f"local://{child.pid}"
        self._pod.record(child.pid, self.state.name)
        self._pod.note("Normal", "Started", f"Started container {self.state.name}")
        if self._stopping.is_set():  # a stop that came while the pipe was made found no child to stop
            child.signal_group(signal.SIGKILL)
        life = asyncio.create_task(self._live(child, begun))
        try:
            end = await asyncio.shield(child.exited)
        finally:
            life.cancel()
            with suppress(asyncio.CancelledError):
                await life
            self._pod.forget(child.pid)
        await log.close()
        self.cpu_seconds_before += end.cpu_seconds
        self._end_state(Terminated(end.code, end.signal, _reason(end), begun, timestamp(), self.state.container_id))

    async def _live(self, child: Child, begun: str) -> None:
        """postStart, then the probes; a container counts as running once postStart is through."""
        hook = (self._spec.get("lifecycle") or {}).get("postStart")
        if hook:
            outcome = await self._ask(hook, None)
            if not outcome.ok:
                self._pod.note("Warning", "FailedPostStartHook", f"PostStartHook failed: {outcome.message}")
                await child.stop(Deadline(self._pod.grace_seconds))
                return
        self.state.now = Running(begun)
        self.settled.set()
        self._pod.changed()
        await run_probes(self._spec, self._ask, self)

    async def _end(self, child: Child, deadline: Deadline) -> None:
        hook = (self._spec.get("lifecycle") or {}).get("preStop")
        if hook and isinstance(self.state.now, Running) and not deadline.is_past:
            await first_of(child.exited, self._ask(hook, None), deadline.passed())
            if child.running and 0 < deadline.remaining() < LEAST_GRACE_S:
                deadline = Deadline(LEAST_GRACE_S)
        await child.stop(deadline)

    async def _ask(self, handler: Mapping[str, Any], timeout_s: float | None) -> Outcome:
        ports = {p["name"]: p["containerPort"] for p in self._spec.get("ports") or () if p.get("name")}
        return await check(handler, Target(self._pod.address, ports, self._execute), timeout_s)

    async def _execute(self, argv: Sequence[str]) -> tuple[Exit, str]:
        """Run a command as the container would: its environment, folder and user."""
        launch = self._launch
        assert launch is not None  # only asked while a process runs
        reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            child = Child.start(launch.translate(argv), env=launch.env, cwd=launch.cwd, output=writing)
            self._pod.record(child.pid, f"{self.state.name} (exec)")
            try:
                end = await asyncio.shield(child.exited)
            finally:
                child.signal_group(signal.SIGKILL)
                self._pod.forget(child.pid)
            with suppress(BlockingIOError):
                return end, os.read(reading, 10240).decode(errors="replace")
            return end, ""
        finally:
            os.close(reading)
            os.close(writing)

    # Its state

    def _wants_restart(self) -> bool:
        failed = not self.state.succeeded
        return self._policy == "Always" or (self._policy == "OnFailure" and failed)

    async def _stopped_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
        return self._stopping.is_set()

    def _wait_state(self, reason: str, message: str) -> None:
        if isinstance(self.state.now, Terminated):
            self.state.last = self.state.now
        self.state.now = Waiting(reason, message)
        self._pod.changed()

    def _end_state(self, end: Terminated) -> None:
        if isinstance(self.state.now, Terminated):
            self.state.last = self.state.now
        self.state.now = end
        self.state.ready = self.state.role == "init" and end.code == 0
        self.state.started = False
        self._pod.changed()


def _reason(end: Exit) -> str:
    return "Completed" if end.code == 0 else "Error"
