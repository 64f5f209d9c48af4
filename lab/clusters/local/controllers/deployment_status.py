"""The status of a Deployment from its ReplicaSets. Pure but for the clock of the conditions.

Reasons and their meaning as in `progress.go` of the real controller, since `kubectl rollout status` waits on
them.
"""

from __future__ import annotations

from typing import Any

from lab.clusters.local.api.objects import timestamp
from lab.clusters.local.controllers.pods import condition, seconds_since
from lab.clusters.local.controllers.rollout import bounds

Object = dict[str, Any]


def deployment_status(deployment: Object, new: Object | None, old: list[Object]) -> Object:
    """The whole new status. new: the ReplicaSet of the current template, if it exists yet."""
    sets = [rs for rs in (new, *old) if rs is not None]
    replicas = _sum(sets, "replicas")
    available = _sum(sets, "availableReplicas")
    status: Object = {
        "observedGeneration": deployment["metadata"]["generation"],
        "replicas": replicas,
        "updatedReplicas": _sum([new] if new else [], "replicas"),
        "readyReplicas": _sum(sets, "readyReplicas"),
        "availableReplicas": available,
        "unavailableReplicas": max(0, sum(rs["spec"]["replicas"] for rs in sets) - available),
    }
    status["conditions"] = [
        _kept(deployment, _available(deployment, available), news=False),
        _kept(deployment, _progressing(deployment, status, new), news=_moved(deployment, status)),
    ]
    return status


def overdue_in(deployment: Object) -> float | None:
    """Seconds until the rollout counts as stuck, or None when it does already or is complete."""
    progressing = condition(deployment, "Progressing")
    if progressing is None or progressing["reason"] not in ("ReplicaSetUpdated", "NewReplicaSetCreated"):
        return None
    patience: int = deployment["spec"].get("progressDeadlineSeconds", 600)
    return max(1.0, patience + 1 - seconds_since(progressing["lastUpdateTime"]))


def _sum(sets: list[Object], field: str) -> int:
    return sum((rs.get("status") or {}).get(field, 0) for rs in sets)


def _available(deployment: Object, available: int) -> Object:
    replicas = deployment["spec"]["replicas"]
    rolling = deployment["spec"]["strategy"].get("rollingUpdate")
    may_miss = bounds(replicas, rolling["maxSurge"], rolling["maxUnavailable"])[1] if rolling else 0
    if available >= replicas - may_miss:
        return _condition("Available", True, "MinimumReplicasAvailable", "Deployment has minimum availability.")
    return _condition(
        "Available", False, "MinimumReplicasUnavailable", "Deployment does not have minimum availability."
    )


def _progressing(deployment: Object, status: Object, new: Object | None) -> Object:
    replicas = deployment["spec"]["replicas"]
    name = new["metadata"]["name"] if new else deployment["metadata"]["name"]
    complete = status["updatedReplicas"] == status["replicas"] == status["availableReplicas"] == replicas
    if complete and new is not None:
        return _condition(
            "Progressing", True, "NewReplicaSetAvailable", f'ReplicaSet "{name}" has successfully progressed.'
        )
    if deployment["spec"].get("paused"):
        return _condition("Progressing", None, "DeploymentPaused", "Deployment is paused")
    before = condition(deployment, "Progressing")
    if (
        before
        and not _moved(deployment, status)
        and before["reason"] in ("ReplicaSetUpdated", "ProgressDeadlineExceeded")
    ):
        patience = deployment["spec"].get("progressDeadlineSeconds", 600)
        if before["reason"] == "ProgressDeadlineExceeded" or seconds_since(before["lastUpdateTime"]) > patience:
            return _condition(
                "Progressing",
                False,
                "ProgressDeadlineExceeded",
                f'ReplicaSet "{name}" has timed out progressing.',
            )
    return _condition("Progressing", True, "ReplicaSetUpdated", f'ReplicaSet "{name}" is progressing.')


def _moved(deployment: Object, status: Object) -> bool:
    """Whether the rollout came nearer its end since the last status."""
    before = deployment.get("status") or {}
    fields = ("observedGeneration", "updatedReplicas", "readyReplicas", "availableReplicas")
    more = any(status[field] > before.get(field, 0) for field in fields)
    fewer_old = status["replicas"] - status["updatedReplicas"] < before.get("replicas", 0) - before.get(
        "updatedReplicas", 0
    )
    return more or fewer_old


def _condition(kind: str, value: bool | None, reason: str, message: str) -> Object:
    text = "Unknown" if value is None else str(value)
    return {"type": kind, "status": text, "reason": reason, "message": message}


def _kept(deployment: Object, new: Object, *, news: bool) -> Object:
    """The condition with its times: of the last change of status, and of the last news."""
    now = timestamp()
    before = condition(deployment, new["type"]) or {}
    same = all(before.get(field) == new[field] for field in ("status", "reason", "message"))
    return {
        **new,
        "lastTransitionTime": before["lastTransitionTime"] if before.get("status") == new["status"] else now,
        "lastUpdateTime": before["lastUpdateTime"] if same and not news else now,
    }
