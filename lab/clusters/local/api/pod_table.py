"""The row of a pod in `kubectl get pods`: what its status amounts to in one word. Pure.

Follows kubernetes `pkg/printers/internalversion/printers.go` (printPod).
"""

from __future__ import annotations

from typing import Any

from lab.clusters.local.api.durations import since
from lab.clusters.local.api.objects import Object, metadata

POD_COLUMNS = (
    "Name", "Ready", "Status", "Restarts", "Age", "IP*", "Node*", "Nominated Node*", "Readiness Gates*",
)  # fmt: skip


def pod_cells(pod: Object) -> list[str | int]:
    """The cells under POD_COLUMNS."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    statuses = status.get("containerStatuses") or []
    total = len(spec.get("containers") or []) + len(_sidecars(spec))
    ready = sum(1 for s in statuses if s.get("ready") and (s.get("state") or {}).get("running") is not None)
    restarts = sum(s.get("restartCount", 0) for s in statuses)
    finished = [t for s in statuses if (t := _terminated(s.get("lastState")).get("finishedAt"))]
    told = f"{restarts} ({since(max(finished))} ago)" if restarts and finished else str(restarts)
    meta = metadata(pod)
    return [
        meta.get("name", ""), f"{ready}/{total}", _word(pod), told, since(meta.get("creationTimestamp")),
        status.get("podIP") or "<none>", spec.get("nodeName") or "<none>",
        status.get("nominatedNodeName") or "<none>", "<none>",
    ]  # fmt: skip


def _word(pod: Object) -> str:
    status = pod.get("status") or {}
    reason: str = status.get("reason") or status.get("phase") or "Unknown"
    reason = _init_word(pod) or _containers_word(status.get("containerStatuses") or [], reason, status)
    if metadata(pod).get("deletionTimestamp"):
        return "Unknown" if status.get("reason") == "NodeLost" else "Terminating"
    return reason


def _init_word(pod: Object) -> str:
    """What an init container that is not done yet makes of the pod; empty when all are done."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    sidecars = _sidecars(spec)
    total = len(spec.get("initContainers") or [])
    for i, s in enumerate(status.get("initContainerStatuses") or []):
        state = s.get("state") or {}
        ended = _terminated(state)
        if (ended and ended.get("exitCode", 0) == 0) or (s.get("name") in sidecars and s.get("started")):
            continue
        if ended:
            return f"Init:{_ended_word(ended)}"
        waiting = (state.get("waiting") or {}).get("reason", "")
        return f"Init:{waiting}" if waiting not in ("", "PodInitializing") else f"Init:{i}/{total}"
    return ""


def _containers_word(statuses: list[Object], reason: str, status: Object) -> str:
    running = False
    for s in reversed(statuses):
        state = s.get("state") or {}
        if waiting := (state.get("waiting") or {}).get("reason"):
            reason = waiting
        elif ended := _terminated(state):
            reason = _ended_word(ended)
        elif s.get("ready") and state.get("running") is not None:
            running = True
    if reason == "Completed" and running:
        ready = any(c.get("type") == "Ready" and c.get("status") == "True" for c in status.get("conditions") or [])
        return "Running" if ready else "NotReady"
    return reason


def _ended_word(ended: Object) -> str:
    if ended.get("reason"):
        return str(ended["reason"])
    return f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode', 0)}"


def _terminated(state: Any) -> Object:
    found = (state or {}).get("terminated")
    return found if isinstance(found, dict) else {}


def _sidecars(spec: Object) -> set[str]:
    return {c.get("name", "") for c in spec.get("initContainers") or [] if c.get("restartPolicy") == "Always"}
