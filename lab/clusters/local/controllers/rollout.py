"""The arithmetic of a rolling update: who may grow and shrink now. Pure numbers, no objects.

maxSurge bounds how many pods there are, maxUnavailable how few are available; as `rolling.go` of the real
controller. https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#rolling-update-deployment
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """One ReplicaSet: replicas it asks for, and how many of them are available."""

    replicas: int
    available: int


def bounds(replicas: int, max_surge: int | str, max_unavailable: int | str) -> tuple[int, int]:
    """(surge, unavailable) as pods. A percentage of surge rounds up, of unavailable down; both zero becomes
    (0, 1).
    """
    surge = _pods(max_surge, replicas, round_up=True)
    unavailable = _pods(max_unavailable, replicas, round_up=False)
    return (0, 1) if surge == 0 and unavailable == 0 else (surge, unavailable)


def grown(replicas: int, new: int, total: int, surge: int) -> int:
    """What the new ReplicaSet should ask for. total: what all ask for together."""
    if new >= replicas:
        return replicas
    return new + max(0, min(replicas + surge - total, replicas - new))


def shrunk(replicas: int, new: Size, old: Sequence[Size], unavailable: int) -> list[int]:
    """What each old ReplicaSet (oldest first) should ask for: first the pods that serve nobody go, then the
    others.
    """
    total = new.replicas + sum(size.replicas for size in old)
    least_available = replicas - unavailable
    wanted = [size.replicas for size in old]
    budget = max(0, total - least_available - (new.replicas - new.available))
    for i, size in enumerate(old):
        useless = min(max(0, size.replicas - size.available), budget)
        wanted[i] -= useless
        budget -= useless
    available = new.available + sum(min(size.available, keep) for size, keep in zip(old, wanted, strict=True))
    budget = max(0, available - least_available)
    for i in range(len(old)):
        going = min(wanted[i], budget)
        wanted[i] -= going
        budget -= going
    return wanted


def _pods(value: int | str, replicas: int, *, round_up: bool) -> int:
    if isinstance(value, str) and value.endswith("%"):
        percent = int(value[:-1]) * replicas
        return -(-percent // 100) if round_up else percent // 100
    return int(value)
