"""ReplicaSet → pods: as many as spec.replicas, from its template.

https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/. Adopting orphans is left out; a pod
whose labels no longer match is released, as with the real controller. Must not know: Deployments, nodes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lab.clusters.local.api.errors import ApiError, NotFound
from lab.clusters.local.api.history import Event
from lab.clusters.local.api.objects import copy_json
from lab.clusters.local.api.selectors import match_selector
from lab.clusters.local.api.store import Store
from lab.clusters.local.controllers.events import Recorder
from lab.clusters.local.controllers.pods import is_active, is_ready, seconds_until_available
from lab.clusters.local.controllers.queue import Controller, Key, key_of, owner

Object = dict[str, Any]


class ReplicaSets(Controller):
    watches = ("replicasets", "pods")

    def __init__(self, store: Store, events: Recorder) -> None:
        super().__init__(store)
        self._events = events

    def keys(self, plural: str, event: Event) -> Iterable[Key]:
        if plural == "replicasets":
            yield key_of(event.object)
        elif reference := owner(event.object, "ReplicaSet"):
            yield event.object["metadata"]["namespace"], reference["name"]

    def reconcile(self, key: Key) -> None:
        try:
            replica_set = self.store.get("replicasets", *key)
        except NotFound:
            return
        if replica_set["metadata"].get("deletionTimestamp"):
            return
        pods = self._pods(replica_set)
        failure: ApiError | None = None
        try:
            self._scale(replica_set, pods)
        except ApiError as e:  # say so in the status first, then let the queue try again
            failure = e
            self._events.warning(replica_set, "FailedCreate", f"Error creating: {e}")
        self._report(replica_set, self._pods(replica_set), failure)
        if failure is not None:
            raise failure

    def _pods(self, replica_set: Object) -> list[Object]:
        """Its active pods; one whose labels no longer match is let go."""
        namespace, uid = replica_set["metadata"]["namespace"], replica_set["metadata"]["uid"]
        mine = []
        for pod in self.store.list("pods", namespace)[0]:
            reference = owner(pod, "ReplicaSet")
            if reference is None or reference["uid"] != uid or not is_active(pod):
                continue
            if match_selector(replica_set["spec"]["selector"], pod["metadata"].get("labels") or {}):
                mine.append(pod)
            else:
                self.store.mutate(
                    "pods", namespace, pod["metadata"]["name"], lambda p: p["metadata"].pop("ownerReferences")
                )
        return mine

    def _scale(self, replica_set: Object, pods: list[Object]) -> None:
        wanted = replica_set["spec"].get("replicas", 1)
        namespace = replica_set["metadata"]["namespace"]
        for _ in range(wanted - len(pods)):
            pod = self.store.create("pods", namespace, _pod_from(replica_set))
            self._events.normal(replica_set, "SuccessfulCreate", f"Created pod: {pod['metadata']['name']}")
        for pod in sorted(pods, key=_to_keep)[: max(0, len(pods) - wanted)]:
            name = pod["metadata"]["name"]
            self.store.delete("pods", namespace, name, precondition_uid=pod["metadata"]["uid"])
            self._events.normal(replica_set, "SuccessfulDelete", f"Deleted pod: {name}")

    def _report(self, replica_set: Object, pods: list[Object], failure: ApiError | None) -> None:
        least = replica_set["spec"].get("minReadySeconds", 0)
        waits = [seconds_until_available(pod, least) for pod in pods]
        labels = replica_set["spec"]["template"]["metadata"].get("labels") or {}
        status: Object = {
            "replicas": len(pods),
            "fullyLabeledReplicas": sum(
                labels.items() <= (pod["metadata"].get("labels") or {}).items() for pod in pods
            ),
            "readyReplicas": sum(is_ready(pod) for pod in pods),
            "availableReplicas": sum(wait == 0 for wait in waits),
            "observedGeneration": replica_set["metadata"]["generation"],
        }
        if failure is not None:
            status["conditions"] = [
                {
                    "type": "ReplicaFailure",
                    "status": "True",
                    "reason": "FailedCreate",
                    "message": str(failure),
                }
            ]
        key = key_of(replica_set)
        self.store.mutate("replicasets", *key, lambda rs: rs.update(status=status), subresource="status")
        pending = [wait for wait in waits if wait]
        if pending:
            self.enqueue_after(key, min(pending))


def _pod_from(replica_set: Object) -> Object:
    meta = replica_set["metadata"]
    template = copy_json(replica_set["spec"]["template"])
    given = template.get("metadata") or {}
    return {
        "metadata": {
            **{k: given[k] for k in ("labels", "annotations", "finalizers") if given.get(k)},
            "generateName": f"{meta['name']}-",
            "ownerReferences": [
                {
                    "apiVersion": "apps/v1",
                    "kind": "ReplicaSet",
                    "name": meta["name"],
                    "uid": meta["uid"],
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": template["spec"],
    }


def _to_keep(pod: Object) -> tuple[bool, bool, bool, str]:
    """Pods to delete first sort first: unbound, not running, not ready, then the youngest.

    https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/#scaling-a-replicaset
    """
    running = (pod.get("status") or {}).get("phase") == "Running"
    age = "".join(chr(0x10FFFF - ord(c)) for c in pod["metadata"]["creationTimestamp"])
    return bool(pod["spec"].get("nodeName")), running, is_ready(pod), age
