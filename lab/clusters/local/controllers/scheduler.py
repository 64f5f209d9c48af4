"""Binds every pod to the only node there is.

https://kubernetes.io/docs/concepts/scheduling-eviction/kube-scheduler/ without the choosing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lab.clusters.local.api.errors import NotFound
from lab.clusters.local.api.history import Event
from lab.clusters.local.api.objects import timestamp
from lab.clusters.local.api.store import Store
from lab.clusters.local.controllers.events import Recorder
from lab.clusters.local.controllers.queue import Controller, Key, key_of


class Scheduler(Controller):
    watches = ("pods",)

    def __init__(self, store: Store, events: Recorder, node: str) -> None:
        super().__init__(store)
        self._events = events
        self._node = node

    def keys(self, plural: str, event: Event) -> Iterable[Key]:
        if event.type != "DELETED" and not event.object["spec"].get("nodeName"):
            yield key_of(event.object)

    def reconcile(self, key: Key) -> None:
        try:
            pod = self.store.get("pods", *key)
        except NotFound:
            return
        if pod["spec"].get("nodeName") or pod["metadata"].get("deletionTimestamp"):
            return
        self.store.mutate("pods", *key, lambda p: p["spec"].update(nodeName=self._node))
        self.store.mutate("pods", *key, _mark_scheduled, subresource="status")
        self._events.normal(pod, "Scheduled", f"Successfully assigned {key[0]}/{key[1]} to {self._node}")


def _mark_scheduled(pod: dict[str, Any]) -> None:
    conditions = pod.setdefault("status", {}).setdefault("conditions", [])
    if not any(c["type"] == "PodScheduled" for c in conditions):
        conditions.append({"type": "PodScheduled", "status": "True", "lastTransitionTime": timestamp()})
