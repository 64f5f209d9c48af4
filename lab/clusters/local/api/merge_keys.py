"""How the list fields of the Kubernetes types merge: by which key, or as sets. Data only.

These are the `patchStrategy` and `patchMergeKey` tags of k8s.io/api (core/v1, apps/v1, meta/v1 types.go); a list
that is not named here is replaced as a whole. Read by `patch.py` and told to clients by `openapi.py`.
"""

from __future__ import annotations

from collections.abc import Mapping

_POD_LISTS = {
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "volumes": "name",
    "imagePullSecrets": "name",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
    "resourceClaims": "name",
    "schedulingGates": "name",
}
_CONTAINER_LISTS = {
    "ports": "containerPort",
    "env": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
}
_CONDITIONS = {"conditions": "type"}

_TABLE: Mapping[str, Mapping[str, str]] = {
    "V1PodSpec": _POD_LISTS,
    "V1Container": _CONTAINER_LISTS,
    "V1EphemeralContainer": _CONTAINER_LISTS,
    "V1ObjectMeta": {"ownerReferences": "uid"},
    "V1ServiceSpec": {"ports": "port"},
    "V1ServiceAccount": {"secrets": "name"},
    "V1PodStatus": {**_CONDITIONS, "podIPs": "ip", "hostIPs": "ip"},
    "V1NodeStatus": {**_CONDITIONS, "addresses": "type"},
    "V1ServiceStatus": _CONDITIONS,
    "V1NamespaceStatus": _CONDITIONS,
    "V1DeploymentStatus": _CONDITIONS,
    "V1ReplicaSetStatus": _CONDITIONS,
}

_SETS = {("V1ObjectMeta", "finalizers"), ("V1NodeSpec", "podCIDRs")}
"""Lists of plain values that merge as sets."""

_RETAIN_KEYS = {("V1DeploymentSpec", "strategy"), ("V1PodSpec", "volumes"), ("V1PodSpec", "resourceClaims")}
"""Unions: a patch names the keys that may stay ($retainKeys)."""


def merge_key(type_name: str, field: str) -> str | None:
    """The field that tells the items of this list apart."""
    return _TABLE.get(type_name, {}).get(field)


def is_set(type_name: str, field: str) -> bool:
    """Whether this list of plain values merges as a set."""
    return (type_name, field) in _SETS


def strategy(type_name: str, field: str) -> str:
    """The `x-kubernetes-patch-strategy` of a field, empty when there is none."""
    parts = ["merge"] if merge_key(type_name, field) or is_set(type_name, field) else []
    if (type_name, field) in _RETAIN_KEYS:
        parts.append("retainKeys")
    return ",".join(parts)
