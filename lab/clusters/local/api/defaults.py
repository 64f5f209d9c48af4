"""The defaults a real API server fills in, for the kinds kept here. Changes the object it is given.

Sources: kubernetes `pkg/apis/{core,apps,rbac,discovery}/v1/defaults.go` and the service account and priority
admission plugins. Knows nothing of storage; validation follows after it.
"""

from __future__ import annotations

import base64
from typing import Any

from lab.clusters.local.api.objects import Object, metadata
from lab.clusters.local.api.resources import Resource


def on_create(resource: Resource, obj: Object) -> None:
    """Fill in a new object: its defaults, and the status it begins with."""
    _apply(resource, obj)
    match resource.plural:
        case "pods":
            obj["status"] = {"phase": "Pending", "qosClass": _qos_class(obj["spec"])}
        case "namespaces":
            obj["status"] = {"phase": "Active"}
        case "deployments":
            obj["status"] = {}
        case "replicasets":
            obj["status"] = {"replicas": 0}
        case "services":
            obj["status"] = {"loadBalancer": {}}


def on_update(resource: Resource, obj: Object, old: Object) -> None:
    """Fill in a replacement: what the client left out and the old object has settled, then the defaults."""
    if resource.plural == "services":
        spec, before = _dict(obj, "spec"), old["spec"]
        for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            if not spec.get(field) and before.get(field):
                spec[field] = before[field]
    elif resource.plural == "pods" and old["spec"].get("nodeName"):
        _dict(obj, "spec").setdefault("nodeName", old["spec"]["nodeName"])
    _apply(resource, obj)


def _apply(resource: Resource, obj: Object) -> None:
    match resource.plural:
        case "pods":
            spec = _dict(obj, "spec")
            _pod_spec(spec)
            spec.setdefault("serviceAccountName", "default")
            spec.setdefault("serviceAccount", spec["serviceAccountName"])
            spec.setdefault("priority", 0)
            spec.setdefault("enableServiceLinks", True)
        case "deployments":
            _deployment(_dict(obj, "spec"))
        case "replicasets":
            spec = _dict(obj, "spec")
            spec.setdefault("replicas", 1)
            _pod_spec(_dict(_dict(spec, "template"), "spec"))
        case "services":
            _service(_dict(obj, "spec"))
        case "namespaces":
            _dict(obj, "spec").setdefault("finalizers", ["kubernetes"])
            _dict(_dict(obj, "metadata"), "labels")["kubernetes.io/metadata.name"] = metadata(obj).get("name", "")
        case "secrets":
            _secret(obj)
        case "endpointslices":
            for port in obj.get("ports") or []:
                port.setdefault("name", "")
                port.setdefault("protocol", "TCP")
        case "rolebindings":
            _role_binding(obj)


def _dict(obj: Object, field: str) -> Object:
    """The dict at `field`, made if it is absent or null."""
    if obj.get(field) is None:
        obj[field] = {}
    found: Object = obj[field]
    return found


def _deployment(spec: Object) -> None:
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    strategy = _dict(spec, "strategy")
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = _dict(strategy, "rollingUpdate")
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")
    _pod_spec(_dict(_dict(spec, "template"), "spec"))


def _service(spec: Object) -> None:
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    for port in spec.get("ports") or []:
        port.setdefault("protocol", "TCP")
        if "port" in port:
            port.setdefault("targetPort", port["port"])
    if spec["type"] == "ExternalName":
        return
    spec.setdefault("internalTrafficPolicy", "Cluster")
    spec.setdefault("ipFamilies", ["IPv4"])
    spec.setdefault("ipFamilyPolicy", "SingleStack")
    if spec["type"] in ("NodePort", "LoadBalancer"):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if spec.get("clusterIP"):
        spec.setdefault("clusterIPs", [spec["clusterIP"]])


def _pod_spec(spec: Object) -> None:
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("schedulerName", "default-scheduler")
    _dict(spec, "securityContext")
    for field in ("initContainers", "containers"):
        for container in spec.get(field) or []:
            _container(container)
    for volume in spec.get("volumes") or []:
        _volume(volume)


def _container(container: Object) -> None:
    if image := container.get("image"):
        latest = ":" not in image.rsplit("/", 1)[-1] or image.endswith(":latest")
        pinned = "@" in image
        container.setdefault("imagePullPolicy", "Always" if latest and not pinned else "IfNotPresent")
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    for port in container.get("ports") or []:
        port.setdefault("protocol", "TCP")
    for variable in container.get("env") or []:
        field_ref = (variable.get("valueFrom") or {}).get("fieldRef")
        if field_ref is not None:
            field_ref.setdefault("apiVersion", "v1")
    resources = _dict(container, "resources")
    for name, amount in (resources.get("limits") or {}).items():
        _dict(resources, "requests").setdefault(name, amount)
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(name) is not None:
            _probe(container[name])
    for hook in (container.get("lifecycle") or {}).values():
        _http_get(hook)


def _probe(probe: Object) -> None:
    for field, value in (
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ):
        if not probe.get(field):
            probe[field] = value
    _http_get(probe)
    if probe.get("grpc") is not None:
        probe["grpc"].setdefault("service", "")


def _http_get(handler: Any) -> None:
    if isinstance(handler, dict) and handler.get("httpGet") is not None:
        handler["httpGet"].setdefault("path", "/")
        handler["httpGet"].setdefault("scheme", "HTTP")


def _volume(volume: Object) -> None:
    sources = {"configMap", "secret", "projected", "downwardAPI"}
    for source in sources & volume.keys():
        if volume[source] is not None:
            volume[source].setdefault("defaultMode", 0o644)
    if volume.keys() == {"name"}:
        volume["emptyDir"] = {}


def _secret(secret: Object) -> None:
    secret.setdefault("type", "Opaque")
    for key, text in (secret.pop("stringData", None) or {}).items():
        _dict(secret, "data")[key] = base64.b64encode(text.encode()).decode()


def _role_binding(binding: Object) -> None:
    group = "rbac.authorization.k8s.io"
    if isinstance(binding.get("roleRef"), dict):
        binding["roleRef"].setdefault("apiGroup", group)
    for subject in binding.get("subjects") or []:
        if subject.get("kind") in ("User", "Group"):
            subject.setdefault("apiGroup", group)


def _qos_class(spec: Object) -> str:
    """https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/"""
    resources = [c.get("resources") or {} for c in spec.get("containers") or []]
    if not any(r.get("requests") or r.get("limits") for r in resources):
        return "BestEffort"
    for r in resources:
        limits = r.get("limits") or {}
        if not {"cpu", "memory"} <= limits.keys() or (r.get("requests") or {}) != limits:
            return "Burstable"
    return "Guaranteed"
