"""When to ask a running container whether it is well, and how many answers in a row count.

startup gates the other two; liveness ends the container; readiness decides whether it gets traffic.
https://kubernetes.io/docs/concepts/workloads/pods/probes/. Knows nothing of how a question is asked
(`checks.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from lab.clusters.local.kubelet.checks import Outcome

Ask = Callable[[Mapping[str, Any], float], Awaitable[Outcome]]
"""handler, timeout in seconds → what was seen"""


class Patient(Protocol):
    """The container as its probes see it."""

    def set_started(self) -> None: ...

    def set_ready(self, ready: bool) -> None: ...

    def report_unhealthy(self, probe: str, message: str) -> None:
        """An attempt failed; probe is Startup, Liveness or Readiness."""
        ...

    def give_up(self, probe: str) -> None:
        """The container has to be restarted because of this probe."""
        ...


@dataclass(frozen=True)
class Schedule:
    """Times in seconds, thresholds in answers in a row."""

    initial_delay: float
    period: float
    timeout: float
    successes: int
    failures: int

    @classmethod
    def of(cls, probe: Mapping[str, Any]) -> Schedule:
        return cls(
            initial_delay=probe.get("initialDelaySeconds") or 0,
            period=probe.get("periodSeconds") or 10,
            timeout=probe.get("timeoutSeconds") or 1,
            successes=probe.get("successThreshold") or 1,
            failures=probe.get("failureThreshold") or 3,
        )


async def run_probes(container: Mapping[str, Any], ask: Ask, patient: Patient) -> None:
    """Probe a container from its start until it is given up; cancel when it ends."""
    startup = container.get("startupProbe")
    if startup:
        async for well in _changes(startup, "Startup", ask, patient):
            if well:
                break
            patient.give_up("Startup")
            return
    patient.set_started()
    async with asyncio.TaskGroup() as group:
        if container.get("livenessProbe"):
            group.create_task(_liveness(container["livenessProbe"], ask, patient))
        if container.get("readinessProbe"):
            group.create_task(_readiness(container["readinessProbe"], ask, patient))
        else:
            patient.set_ready(True)


async def _liveness(probe: Mapping[str, Any], ask: Ask, patient: Patient) -> None:
    async for well in _changes(probe, "Liveness", ask, patient):
        if not well:
            patient.give_up("Liveness")
            return


async def _readiness(probe: Mapping[str, Any], ask: Ask, patient: Patient) -> None:
    async for well in _changes(probe, "Readiness", ask, patient):
        patient.set_ready(well)


async def _changes(probe: Mapping[str, Any], name: str, ask: Ask, patient: Patient) -> AsyncIterator[bool]:
    """True or False each time enough answers in a row say something new; unknown at first."""
    schedule = Schedule.of(probe)
    verdict: bool | None = None
    in_a_row, latest = 0, None
    loop = asyncio.get_running_loop()
    await asyncio.sleep(schedule.initial_delay)
    due = loop.time()
    while True:
        outcome = await ask(probe, schedule.timeout)
        if not outcome.ok:
            patient.report_unhealthy(name, outcome.message)
        in_a_row = in_a_row + 1 if outcome.ok == latest else 1
        latest = outcome.ok
        enough = schedule.successes if outcome.ok else schedule.failures
        if in_a_row >= enough and outcome.ok != verdict:
            verdict = outcome.ok
            yield verdict
        due = max(due + schedule.period, loop.time())
        await asyncio.sleep(due - loop.time())
