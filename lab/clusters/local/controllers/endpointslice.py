"""Service → EndpointSlices: the addresses of its pods and whether each serves.

https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/ and KEP-752, KEP-1672 (terminating
endpoints). Pods whose named target ports have different numbers get slices of their own. Slices are changed
in place, so a watcher sees one MODIFIED for one pod's change. Must not know: who listens at a cluster IP.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from lab.clusters.local.api.errors import NotFound
from lab.clusters.local.api.history import Event
from lab.clusters.local.controllers.pods import is_over, is_ready, is_terminating
from lab.clusters.local.controllers.queue import Controller, Key, key_of

Object = dict[str, Any]

MOST_ENDPOINTS = 100
"""In one slice, as with the real controller's default --max-endpoints-per-slice."""

SERVICE_LABEL = "kubernetes.io/service-name"
MANAGED_LABEL = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
HEADLESS_LABEL = "service.kubernetes.io/headless"


class EndpointSlices(Controller):
    watches = ("services", "pods", "endpointslices")

    def keys(self, plural: str, event: Event) -> Iterable[Key]:
        meta = event.object["metadata"]
        if plural == "services":
            yield key_of(event.object)
        elif plural == "endpointslices":
            labels = meta.get("labels") or {}
            if labels.get(MANAGED_LABEL) == MANAGER:  # somebody may have deleted or changed it
                yield meta["namespace"], labels.get(SERVICE_LABEL, "")
        else:
            seen = [meta.get("labels") or {}]
            if event.previous is not None:  # a pod that lost its labels has to leave the slices
                seen.append(event.previous["metadata"].get("labels") or {})
            for service in self.store.list("services", meta["namespace"])[0]:
                if any(_selects(service, labels) for labels in seen):
                    yield key_of(service)

    def reconcile(self, key: Key) -> None:
        try:
            service = self.store.get("services", *key)
        except NotFound:
            return  # its slices go with it, see gc.py
        if not service["spec"].get("selector"):
            return  # whoever made it without a selector keeps its slices
        wanted = _wanted(service, self.store.list("pods", key[0])[0])
        for ports, endpoints, held in _assign(wanted, self._slices(key)):
            self._write(service, ports, endpoints, held)

    def _slices(self, key: Key) -> list[Object]:
        mine = {SERVICE_LABEL: key[1], MANAGED_LABEL: MANAGER}.items()
        return [
            s
            for s in self.store.list("endpointslices", key[0])[0]
            if mine <= (s["metadata"].get("labels") or {}).items()
        ]

    def _write(self, service: Object, ports: list[Object], endpoints: list[Object] | None, held: Object | None) -> None:
        """Make one slice so. endpoints None: it is no longer needed."""
        namespace = service["metadata"]["namespace"]
        if endpoints is None:
            if held is not None:
                self.store.remove("endpointslices", namespace, held["metadata"]["name"], held["metadata"]["uid"])
        elif held is None:
            self.store.create("endpointslices", namespace, _new_slice(service, ports, endpoints))
        elif held.get("ports") != ports or held.get("endpoints") != endpoints:
            self.store.update("endpointslices", namespace, {**held, "ports": ports, "endpoints": endpoints})


Groups = dict[str, tuple[list[Object], list[Object]]]
"""by ports as JSON: (ports, endpoints)"""


def _wanted(service: Object, pods: list[Object]) -> Groups:
    groups: Groups = {}
    for pod in pods:
        address = (pod.get("status") or {}).get("podIP")
        if not address or is_over(pod) or not _selects(service, pod["metadata"].get("labels") or {}):
            continue
        ports = _ports(service, pod)
        groups.setdefault(_name_of(ports), (ports, []))[1].append(_endpoint(service, pod, address))
    if not groups:  # a Service without pods has one empty slice, so that a watcher knows of it
        groups["[]"] = ([], [])
    return groups


def _assign(wanted: Groups, held: list[Object]) -> Iterable[tuple[list[Object], list[Object] | None, Object | None]]:
    """(ports, endpoints, slice to reuse) for every slice wanted or held."""
    free = list(held)
    for name, (ports, endpoints) in wanted.items():
        for start in range(0, max(1, len(endpoints)), MOST_ENDPOINTS):
            same = [s for s in free if _name_of(s.get("ports") or []) == name] or [
                s for s in free if _name_of(s.get("ports") or []) not in wanted
            ]
            reused = same[0] if same else None
            if reused is not None:
                free.remove(reused)
            yield ports, endpoints[start : start + MOST_ENDPOINTS], reused
    for unused in free:
        yield [], None, unused


def _name_of(ports: list[Object]) -> str:
    return json.dumps(ports, sort_keys=True)


def _selects(service: Object, labels: Object) -> bool:
    selector = service["spec"].get("selector") or {}
    return bool(selector) and selector.items() <= labels.items()


def _ports(service: Object, pod: Object) -> list[Object]:
    """The Service's ports as this pod has them; a named target port the pod does not have is left out."""
    found = []
    for port in service["spec"].get("ports") or ():
        number = _number(port, pod)
        if number is not None:
            one = {"name": port.get("name", ""), "port": number, "protocol": port.get("protocol", "TCP")}
            if port.get("appProtocol"):
                one["appProtocol"] = port["appProtocol"]
            found.append(one)
    return found


def _number(port: Object, pod: Object) -> int | None:
    target = port.get("targetPort", port["port"])
    if isinstance(target, int):
        return target
    sidecars = [c for c in pod["spec"].get("initContainers") or () if c.get("restartPolicy") == "Always"]
    for container in (*pod["spec"]["containers"], *sidecars):
        for candidate in container.get("ports") or ():
            if candidate.get("name") == target and candidate.get("protocol", "TCP") == port.get("protocol", "TCP"):
                return int(candidate["containerPort"])
    return None


def _endpoint(service: Object, pod: Object, address: str) -> Object:
    serving = is_ready(pod) or bool(service["spec"].get("publishNotReadyAddresses"))
    terminating = is_terminating(pod)
    meta = pod["metadata"]
    return {
        "addresses": [address],
        "conditions": {
            "ready": serving and (not terminating or bool(service["spec"].get("publishNotReadyAddresses"))),
            "serving": serving,
            "terminating": terminating,
        },
        "nodeName": pod["spec"].get("nodeName"),
        "targetRef": {
            "kind": "Pod",
            "name": meta["name"],
            "namespace": meta["namespace"],
            "uid": meta["uid"],
        },
    }


def _new_slice(service: Object, ports: list[Object], endpoints: list[Object]) -> Object:
    meta = service["metadata"]
    labels = {**(meta.get("labels") or {}), SERVICE_LABEL: meta["name"], MANAGED_LABEL: MANAGER}
    if service["spec"].get("clusterIP") == "None":
        labels[HEADLESS_LABEL] = ""
    return {
        "metadata": {
            "generateName": f"{meta['name']}-",
            "labels": labels,
            "ownerReferences": [
                {
                    "apiVersion": "v1",
                    "kind": "Service",
                    "name": meta["name"],
                    "uid": meta["uid"],
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "addressType": "IPv4",
        "ports": ports,
        "endpoints": endpoints,
    }
