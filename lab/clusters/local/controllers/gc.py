"""Garbage collection: what has lost all its owners goes too.

https://kubernetes.io/docs/concepts/architecture/garbage-collection/ (background cascading). Deleting with
propagationPolicy Orphan takes the references off in the store, so there is nothing to do for it here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lab.clusters.local.api.errors import NotFound
from lab.clusters.local.api.history import Event
from lab.clusters.local.controllers.queue import Controller, Key

OWNERS = {"Deployment": "deployments", "ReplicaSet": "replicasets", "Service": "services", "Pod": "pods"}
"""Kinds that may own something here; references to others are left alone."""

DEPENDENTS = ("replicasets", "pods", "endpointslices")


class GarbageCollector(Controller):
    """Its keys are (namespace, "plural/name") of dependents."""

    watches = tuple(dict.fromkeys((*OWNERS.values(), *DEPENDENTS)))

    def keys(self, plural: str, event: Event) -> Iterable[Key]:
        meta = event.object["metadata"]
        if event.type == "DELETED" and plural in OWNERS.values():
            for dependent in DEPENDENTS:
                for obj in self.store.list(dependent, meta["namespace"])[0]:
                    if any(r.get("uid") == meta["uid"] for r in obj["metadata"].get("ownerReferences") or ()):
                        yield meta["namespace"], f"{dependent}/{obj['metadata']['name']}"
        elif event.type == "ADDED" and plural in DEPENDENTS and meta.get("ownerReferences"):
            yield meta["namespace"], f"{plural}/{meta['name']}"  # its owner may have gone just before

    def reconcile(self, key: Key) -> None:
        namespace, (plural, _, name) = key[0], key[1].partition("/")
        try:
            obj = self.store.get(plural, namespace, name)
        except NotFound:
            return
        references = obj["metadata"].get("ownerReferences") or []
        if not references or obj["metadata"].get("deletionTimestamp"):
            return
        if not any(self._exists(namespace, reference) for reference in references):
            self.store.delete(plural, namespace, name, precondition_uid=obj["metadata"]["uid"])

    def _exists(self, namespace: str, reference: dict[str, Any]) -> bool:
        plural = OWNERS.get(reference["kind"])
        if plural is None:
            return True
        try:
            owner = self.store.get(plural, namespace, reference["name"])
        except NotFound:
            return False
        return bool(owner["metadata"]["uid"] == reference["uid"])
