"""Deployment → ReplicaSets: one per version of the pod template, moved from old to new within the strategy's
bounds.

https://kubernetes.io/docs/concepts/workloads/controllers/deployment/. Status and conditions are what `kubectl
rollout status` reads. Left out: adopting orphans, and scaling old and new in proportion when replicas change
during a rollout. Must not know: pods' insides, nodes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from lab.clusters.local.api.errors import NotFound
from lab.clusters.local.api.history import Event
from lab.clusters.local.api.objects import copy_json
from lab.clusters.local.api.store import Store
from lab.clusters.local.controllers.deployment_status import deployment_status, overdue_in
from lab.clusters.local.controllers.events import Recorder
from lab.clusters.local.controllers.pods import is_over
from lab.clusters.local.controllers.queue import Controller, Key, key_of, owner
from lab.clusters.local.controllers.rollout import Size, bounds, grown, shrunk

Object = dict[str, Any]

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class Deployments(Controller):
    watches = ("deployments", "replicasets", "pods")

    def __init__(self, store: Store, events: Recorder) -> None:
        super().__init__(store)
        self._events = events

    def keys(self, plural: str, event: Event) -> Iterable[Key]:
        if plural == "deployments":
            yield key_of(event.object)
        elif plural == "replicasets":
            if reference := owner(event.object, "Deployment"):
                yield event.object["metadata"]["namespace"], reference["name"]
        elif event.type == "DELETED" and (reference := owner(event.object, "ReplicaSet")):
            # Recreate waits for the last old pod to be gone, of which no ReplicaSet tells
            yield event.object["metadata"]["namespace"], reference["name"].rpartition("-")[0]

    def reconcile(self, key: Key) -> None:
        try:
            deployment = self.store.get("deployments", *key)
        except NotFound:
            return
        if deployment["metadata"].get("deletionTimestamp"):
            return
        paused = bool(deployment["spec"].get("paused"))
        new, old = self._replica_sets(deployment)
        if paused:
            if new is not None and not any(rs["spec"]["replicas"] for rs in old):
                new = self._resize(deployment, new, deployment["spec"]["replicas"])
        elif deployment["spec"]["strategy"]["type"] == "Recreate":
            new, old = self._recreate(deployment, new, old)
        else:
            new, old = self._roll(deployment, new, old)
        if not paused:
            self._forget_old(deployment, old)
        self._report(deployment, new, old)

    def _replica_sets(self, deployment: Object) -> tuple[Object | None, list[Object]]:
        """(the one of the current template if it exists, the others by age)."""
        wanted = template_hash(deployment["spec"]["template"])
        new, old = None, []
        for rs in self.store.list("replicasets", deployment["metadata"]["namespace"])[0]:
            reference = owner(rs, "Deployment")
            if reference is None or reference["uid"] != deployment["metadata"]["uid"]:
                continue
            if rs["metadata"]["labels"].get(HASH_LABEL) == wanted:
                new = rs
            else:
                old.append(rs)
        return new, sorted(old, key=_revision)

    def _roll(self, deployment: Object, new: Object | None, old: list[Object]) -> tuple[Object, list[Object]]:
        replicas = deployment["spec"]["replicas"]
        rolling = deployment["spec"]["strategy"]["rollingUpdate"]
        surge, unavailable = bounds(replicas, rolling["maxSurge"], rolling["maxUnavailable"])
        new = self._current(deployment, new, old)
        total = sum(rs["spec"]["replicas"] for rs in (new, *old))
        new = self._resize(deployment, new, grown(replicas, new["spec"]["replicas"], total, surge))
        wanted = shrunk(replicas, _size(new), [_size(rs) for rs in old], unavailable)
        return new, [self._resize(deployment, rs, size) for rs, size in zip(old, wanted, strict=True)]

    def _recreate(
        self, deployment: Object, new: Object | None, old: list[Object]
    ) -> tuple[Object | None, list[Object]]:
        old = [self._resize(deployment, rs, 0) for rs in old]
        old_uids = {rs["metadata"]["uid"] for rs in old}
        for pod in self.store.list("pods", deployment["metadata"]["namespace"])[0]:
            reference = owner(pod, "ReplicaSet")
            if reference and reference["uid"] in old_uids and not is_over(pod):
                return new, old  # still running, or on its way out
        new = self._current(deployment, new, old)
        return self._resize(deployment, new, deployment["spec"]["replicas"]), old

    def _current(self, deployment: Object, new: Object | None, old: list[Object]) -> Object:
        """The ReplicaSet of the current template, made if needed, with the newest revision number."""
        revision = max((_revision(rs) for rs in old), default=0) + 1
        if new is None:
            new = self.store.create(
                "replicasets", deployment["metadata"]["namespace"], _replica_set(deployment, revision)
            )
        elif _revision(new) < revision:  # back to an earlier template
            new = self.store.mutate(
                "replicasets",
                *key_of(new),
                lambda rs: rs["metadata"]["annotations"].update({REVISION: str(revision)}),
            )
        mine = str(_revision(new))
        if (deployment["metadata"].get("annotations") or {}).get(REVISION) != mine:
            self.store.mutate(
                "deployments",
                *key_of(deployment),
                lambda d: d["metadata"].setdefault("annotations", {}).update({REVISION: mine}),
            )
        return new

    def _resize(self, deployment: Object, rs: Object, replicas: int) -> Object:
        before = rs["spec"]["replicas"]
        if before == replicas:
            return rs
        direction = "up" if replicas > before else "down"
        self._events.normal(
            deployment,
            "ScalingReplicaSet",
            f"Scaled {direction} replica set {rs['metadata']['name']} from {before} to {replicas}",
        )
        return self.store.mutate("replicasets", *key_of(rs), lambda r: r["spec"].update(replicas=replicas))

    def _forget_old(self, deployment: Object, old: list[Object]) -> None:
        keep = deployment["spec"]["revisionHistoryLimit"]
        for rs in old[: max(0, len(old) - keep)]:
            if rs["spec"]["replicas"] == 0 and not (rs.get("status") or {}).get("replicas"):
                self.store.delete("replicasets", *key_of(rs))

    def _report(self, deployment: Object, new: Object | None, old: list[Object]) -> None:
        key = key_of(deployment)
        status = deployment_status(deployment, new, old)
        written = self.store.mutate("deployments", *key, lambda d: d.update(status=status), subresource="status")
        wait = overdue_in(written)
        if wait is not None:
            self.enqueue_after(key, wait)


def template_hash(template: Object) -> str:
    """A short name for a pod template; equal templates have equal hashes."""
    text = json.dumps(template, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _replica_set(deployment: Object, revision: int) -> Object:
    meta, spec = deployment["metadata"], deployment["spec"]
    name = template_hash(spec["template"])
    template = copy_json(spec["template"])
    template.setdefault("metadata", {}).setdefault("labels", {})[HASH_LABEL] = name
    selector = copy_json(spec["selector"])
    selector.setdefault("matchLabels", {})[HASH_LABEL] = name
    annotations = {k: v for k, v in (meta.get("annotations") or {}).items() if k != _LAST_APPLIED}
    return {
        "metadata": {
            "name": f"{meta['name']}-{name}",
            "labels": copy_json(template["metadata"]["labels"]),
            "annotations": {**annotations, REVISION: str(revision)},
            "ownerReferences": [
                {
                    "apiVersion": "apps/v1",
                    "kind": "Deployment",
                    "name": meta["name"],
                    "uid": meta["uid"],
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": {
            "replicas": 0,
            "minReadySeconds": spec.get("minReadySeconds", 0),
            "selector": selector,
            "template": template,
        },
    }


def _revision(rs: Object) -> int:
    return int((rs["metadata"].get("annotations") or {}).get(REVISION, 0))


def _size(rs: Object) -> Size:
    return Size(rs["spec"]["replicas"], (rs.get("status") or {}).get("availableReplicas", 0))
