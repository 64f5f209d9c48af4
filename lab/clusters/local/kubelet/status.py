"""What is known of a pod's containers → the status Kubernetes shows. Pure: no processes, no store, no clock.

https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/; the phase follows `getPhase` of the real
kubelet.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Waiting:
    reason: str
    message: str = ""

    def as_json(self) -> dict[str, Any]:
        inner = {"reason": self.reason}
        if self.message:
            inner["message"] = self.message
        return {"waiting": inner}


@dataclass(frozen=True)
class Running:
    started_at: str

    def as_json(self) -> dict[str, Any]:
        return {"running": {"startedAt": self.started_at}}


@dataclass(frozen=True)
class Terminated:
    """code, signal: as in `child.Exit`. Times as metav1.Time."""

    code: int
    signal: int | None
    reason: str
    started_at: str
    finished_at: str
    container_id: str = ""
    message: str = ""

    def as_json(self) -> dict[str, Any]:
        inner: dict[str, Any] = {
            "exitCode": self.code,
            "reason": self.reason,
            "startedAt": self.started_at,
            "finishedAt": self.finished_at,
        }
        if self.signal is not None:
            inner["signal"] = self.signal
        if self.container_id:
            inner["containerID"] = self.container_id
        if self.message:
            inner["message"] = self.message
        return {"terminated": inner}


@dataclass
class ContainerState:
    """All a status says of one container. role: init containers with restartPolicy Always are sidecars
    (KEP-753).
    """

    name: str
    image: str
    role: Literal["init", "sidecar", "main"]
    now: Waiting | Running | Terminated = field(default_factory=lambda: Waiting("ContainerCreating"))
    last: Terminated | None = None
    restarts: int = 0
    ready: bool = False
    started: bool = False
    container_id: str = ""

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "image": self.image,
            "imageID": f"local://{self.image}",
            "containerID": self.container_id,
            "state": self.now.as_json(),
            "lastState": self.last.as_json() if self.last else {},
            "ready": self.ready,
            "started": self.started,
            "restartCount": self.restarts,
        }

    @property
    def succeeded(self) -> bool:
        return isinstance(self.now, Terminated) and self.now.code == 0

    @property
    def past_initialising(self) -> bool:
        """Whether, as an init container, it no longer holds up the ones after it."""
        return self.started if self.role == "sidecar" else self.succeeded


@dataclass(frozen=True)
class PodFacts:
    """What a status is made of besides the containers. over: no container will run again."""

    address: str
    host_address: str
    start_time: str
    qos_class: str
    over: bool = False


def pod_status(
    facts: PodFacts, containers: Sequence[ContainerState], old_conditions: Iterable[dict[str, Any]], now: str
) -> dict[str, Any]:
    """The whole status of a pod. old_conditions: for the time of the last transition; now: metav1.Time."""
    inits = [c for c in containers if c.role != "main"]
    mains = [c for c in containers if c.role == "main"]
    phase = _phase(facts, inits, mains)
    status: dict[str, Any] = {
        "phase": phase,
        "conditions": _conditions(phase, inits, mains, {c["type"]: c for c in old_conditions}, now),
        "hostIP": facts.host_address,
        "hostIPs": [{"ip": facts.host_address}],
        "startTime": facts.start_time,
        "qosClass": facts.qos_class,
        "containerStatuses": [_shown(c, inits) for c in mains],
    }
    if inits:
        status["initContainerStatuses"] = [c.as_json() for c in inits]
    if facts.address:
        status |= {"podIP": facts.address, "podIPs": [{"ip": facts.address}]}
    return status


def _shown(container: ContainerState, inits: list[ContainerState]) -> dict[str, Any]:
    shown = container.as_json()
    creating = isinstance(container.now, Waiting) and container.now.reason == "ContainerCreating"
    if creating and not all(c.past_initialising for c in inits):
        shown["state"] = {"waiting": {"reason": "PodInitializing"}}
    return shown


def _phase(facts: PodFacts, inits: list[ContainerState], mains: list[ContainerState]) -> str:
    if not all(c.past_initialising for c in inits) and not any(c.container_id for c in mains):
        return "Failed" if facts.over else "Pending"
    if facts.over:
        return "Succeeded" if all(c.succeeded for c in mains) else "Failed"
    if any(isinstance(c.now, Waiting) and c.last is None for c in mains):
        return "Pending"
    return "Running"


def _conditions(
    phase: str,
    inits: list[ContainerState],
    mains: list[ContainerState],
    old: dict[str, dict[str, Any]],
    now: str,
) -> list[dict[str, Any]]:
    serving = mains + [c for c in inits if c.role == "sidecar"]
    unready = [c.name for c in serving if not c.ready]
    unfinished = [c.name for c in inits if not c.past_initialising]
    done = phase == "Succeeded"
    ready = _verdict(unready, "ContainersNotReady", "containers with unready status", done)
    found = {
        "PodReadyToStartContainers": {"status": "True"},
        "Initialized": {"status": "True"}
        if done
        else _verdict(unfinished, "ContainersNotInitialized", "containers with incomplete status", False),
        "Ready": ready,
        "ContainersReady": ready,
        "PodScheduled": {"status": "True"},
    }
    conditions = []
    for kind, condition in found.items():
        before = old.get(kind, {})
        since = before.get("lastTransitionTime") if before.get("status") == condition["status"] else None
        conditions.append({"type": kind, **condition, "lastTransitionTime": since or now})
    return conditions


def _verdict(names: list[str], reason: str, what: str, completed: bool) -> dict[str, Any]:
    if completed:
        return {"status": "False", "reason": "PodCompleted"}
    if not names:
        return {"status": "True"}
    return {"status": "False", "reason": reason, "message": f"{what}: [{' '.join(names)}]"}
