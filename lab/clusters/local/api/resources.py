"""The table of resources this API server keeps: names, scope and subresources.

Data only; discovery, routing, OpenAPI and the store all read this one table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Resource:
    """One kind of object. group is "" for the core group."""

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    short_names: tuple[str, ...] = ()
    namespaced: bool = True
    subresources: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    tracks_generation: bool = False

    @property
    def api_version(self) -> str:
        """`v1` or `apps/v1`, as written in a manifest."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """`pods` or `deployments.apps`, as written in an error message."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


_ALL = ("all",)
_RBAC = "rbac.authorization.k8s.io"

_TABLE = (
    Resource("", "v1", "Namespace", "namespaces", "namespace", ("ns",), False, ("status", "finalize")),
    Resource("", "v1", "Node", "nodes", "node", ("no",), False, ("status", "proxy")),
    Resource(
        "", "v1", "Pod", "pods", "pod", ("po",), True,
        ("status", "log", "proxy", "eviction", "binding"), _ALL, True,
    ),
    Resource("", "v1", "Service", "services", "service", ("svc",), True, ("status",), _ALL),
    Resource("", "v1", "ConfigMap", "configmaps", "configmap", ("cm",)),
    Resource("", "v1", "Secret", "secrets", "secret"),
    Resource("", "v1", "ServiceAccount", "serviceaccounts", "serviceaccount", ("sa",), True, ("token",)),
    Resource("", "v1", "Event", "events", "event", ("ev",)),
    Resource(
        "apps", "v1", "Deployment", "deployments", "deployment", ("deploy",), True, ("status", "scale"), _ALL, True
    ),
    Resource(
        "apps", "v1", "ReplicaSet", "replicasets", "replicaset", ("rs",), True, ("status", "scale"), _ALL, True
    ),
    Resource("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", "endpointslice"),
    Resource(_RBAC, "v1", "Role", "roles", "role"),
    Resource(_RBAC, "v1", "RoleBinding", "rolebindings", "rolebinding"),
)  # fmt: skip

RESOURCES: Mapping[str, Resource] = {r.plural: r for r in _TABLE}

NAMESPACED: tuple[str, ...] = tuple(r.plural for r in _TABLE if r.namespaced)


def group_versions() -> list[tuple[str, str]]:
    """Every (group, version) served, core first, in table order."""
    return list(dict.fromkeys((r.group, r.version) for r in _TABLE))
