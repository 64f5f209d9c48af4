"""Events: what happened to an object, for `kubectl get events` and `kubectl describe`.

Repeats are counted in one Event instead of written again. How many are kept in all is the store's business.
https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/ (core/v1 form)
"""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from typing import Any

from lab.clusters.local.api.errors import AlreadyExists, ApiError, NotFound
from lab.clusters.local.api.objects import timestamp
from lab.clusters.local.api.store import Store

log = logging.getLogger("balance-lab.events")

REMEMBERED = 1000
"""How many different events are remembered for counting."""


class Recorder:
    """Writes Events in the name of one component, e.g. "kubelet"."""

    def __init__(self, store: Store, component: str) -> None:
        self._store = store
        self._component = component
        self._written: OrderedDict[str, str] = OrderedDict()  # what happened → name of its Event

    def normal(self, obj: dict[str, Any], reason: str, message: str) -> None:
        self._record(obj, "Normal", reason, message)

    def warning(self, obj: dict[str, Any], reason: str, message: str) -> None:
        self._record(obj, "Warning", reason, message)

    def _record(self, obj: dict[str, Any], kind: str, reason: str, message: str) -> None:
        namespace = obj["metadata"].get("namespace") or "default"
        identity = "\0".join((str(obj["metadata"].get("uid")), kind, reason, message))
        try:
            if not self._count(namespace, identity):
                self._write(obj, namespace, identity, kind, reason, message)
        except ApiError as e:  # the namespace may be going away; an event is never worth a failure
            log.debug("event %s not written: %s", reason, e)

    def _count(self, namespace: str, identity: str) -> bool:
        name = self._written.get(identity)
        if name is None:
            return False

        def once_more(event: dict[str, Any]) -> None:
            event["count"] = event.get("count", 1) + 1
            event["lastTimestamp"] = timestamp()

        try:
            self._store.mutate("events", namespace, name, once_more)
        except NotFound:
            del self._written[identity]
            return False
        self._written.move_to_end(identity)
        return True

    def _write(self, obj: dict[str, Any], namespace: str, identity: str, kind: str, reason: str, message: str) -> None:
        meta = obj["metadata"]
        name = f"{meta['name']}.{hashlib.sha256(identity.encode()).hexdigest()[:16]}"
        now = timestamp()
        event = {
            "metadata": {"name": name},
            "involvedObject": {
                "apiVersion": obj.get("apiVersion"),
                "kind": obj.get("kind"),
                "name": meta["name"],
                "namespace": meta.get("namespace"),
                "uid": meta.get("uid"),
                "resourceVersion": meta.get("resourceVersion"),
            },
            "type": kind,
            "reason": reason,
            "message": message[:1024],
            "count": 1,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "source": {"component": self._component, "host": "local"},
            "reportingComponent": self._component,
            "reportingInstance": "local",
        }
        try:
            self._store.create("events", namespace, event)
        except AlreadyExists:
            pass
        self._written[identity] = name
        if len(self._written) > REMEMBERED:
            self._written.popitem(last=False)
