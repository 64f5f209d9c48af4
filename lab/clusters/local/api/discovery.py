"""What the server serves, told to clients: /api, /apis and the resource lists, old form and aggregated.

https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api
"""

from __future__ import annotations

from lab.clusters.local.api.errors import NotFound
from lab.clusters.local.api.objects import Object
from lab.clusters.local.api.resources import RESOURCES, Resource, group_versions

REVIEWS: dict[tuple[str, str], dict[str, str]] = {
    ("authentication.k8s.io", "v1"): {"selfsubjectreviews": "SelfSubjectReview"},
    ("authorization.k8s.io", "v1"): {
        "selfsubjectaccessreviews": "SelfSubjectAccessReview",
        "selfsubjectrulesreviews": "SelfSubjectRulesReview",
    },
}
"""Kinds that are asked, not kept: create only, of no namespace."""

_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]

# subresource: (group, version, kind, verbs); None for the resource's own group, version and kind
_SUBRESOURCES: dict[str, tuple[tuple[str, str, str] | None, list[str]]] = {
    "status": (None, ["get", "patch", "update"]),
    "finalize": (None, ["update"]),
    "log": (None, ["get"]),
    "scale": (("autoscaling", "v1", "Scale"), ["get", "patch", "update"]),
    "eviction": (("policy", "v1", "Eviction"), ["create"]),
    "binding": (("", "v1", "Binding"), ["create"]),
    "token": (("authentication.k8s.io", "v1", "TokenRequest"), ["create"]),
}
_PROXY = {
    "pods": ("PodProxyOptions", ["create", "delete", "get", "patch", "update"]),
    "nodes": ("NodeProxyOptions", ["get"]),
}


def core_versions() -> Object:
    """GET /api"""
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}


def groups() -> Object:
    """GET /apis"""
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(g, v) for g, v in _named_groups()]}


def group(name: str) -> Object:
    """GET /apis/GROUP"""
    for g, v in _named_groups():
        if g == name:
            return {"kind": "APIGroup", "apiVersion": "v1", **_group(g, v)}
    raise NotFound("the server could not find the requested resource")


def resource_list(group_name: str, version: str) -> Object:
    """GET /api/v1 and /apis/GROUP/VERSION"""
    if (group_name, version) not in [*group_versions(), *REVIEWS]:
        raise NotFound("the server could not find the requested resource")
    entries: list[Object] = []
    for resource in _of(group_name, version):
        entries += [_entry(resource), *(_sub_entry(resource, sub) for sub in resource.subresources)]
    for plural, kind in REVIEWS.get((group_name, version), {}).items():
        entries.append(
            {
                "name": plural,
                "singularName": kind.lower(),
                "namespaced": False,
                "kind": kind,
                "verbs": ["create"],
            }
        )
    api_version = f"{group_name}/{version}" if group_name else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version, "resources": entries}


def aggregated(core: bool) -> Object:
    """GET /api (core) and /apis as apidiscovery.k8s.io/v2 APIGroupDiscoveryList."""
    wanted = [("", "v1")] if core else _named_groups()
    items: list[Object] = [
        {
            "metadata": {"name": g, "creationTimestamp": None} if g else {"creationTimestamp": None},
            "versions": [{"version": v, "resources": _aggregated_resources(g, v), "freshness": "Current"}],
        }
        for g, v in wanted
    ]
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    }


def _named_groups() -> list[tuple[str, str]]:
    return [(g, v) for g, v in [*group_versions(), *REVIEWS] if g]


def _of(group_name: str, version: str) -> list[Resource]:
    return [r for r in RESOURCES.values() if (r.group, r.version) == (group_name, version)]


def _group(name: str, version: str) -> Object:
    told = {"groupVersion": f"{name}/{version}", "version": version}
    return {"name": name, "versions": [told], "preferredVersion": told}


def _verbs(resource: Resource) -> list[str]:
    return [v for v in _VERBS if v != "deletecollection" or resource.plural != "namespaces"]


def _entry(resource: Resource) -> Object:
    entry: Object = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": _verbs(resource),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    return entry


def _sub_kind(resource: Resource, sub: str) -> tuple[str, str, str, list[str]]:
    if sub == "proxy":
        kind, verbs = _PROXY[resource.plural]
        return "", "v1", kind, verbs
    told, verbs = _SUBRESOURCES[sub]
    return (*(told or (resource.group, resource.version, resource.kind)), verbs)


def _sub_entry(resource: Resource, sub: str) -> Object:
    group_name, version, kind, verbs = _sub_kind(resource, sub)
    entry: Object = {
        "name": f"{resource.plural}/{sub}",
        "singularName": "",
        "namespaced": resource.namespaced,
        "kind": kind,
        "verbs": verbs,
    }
    if (group_name, version) != (resource.group, resource.version):
        entry.update(group=group_name, version=version)
    return entry


def _aggregated_resources(group_name: str, version: str) -> list[Object]:
    found: list[Object] = []
    for r in _of(group_name, version):
        entry: Object = {
            "resource": r.plural,
            "responseKind": {"group": r.group, "version": r.version, "kind": r.kind},
            "scope": "Namespaced" if r.namespaced else "Cluster",
            "singularResource": r.singular,
            "verbs": _verbs(r),
        }
        if r.short_names:
            entry["shortNames"] = list(r.short_names)
        if r.categories:
            entry["categories"] = list(r.categories)
        if r.subresources:
            entry["subresources"] = [_aggregated_sub(r, sub) for sub in r.subresources]
        found.append(entry)
    for plural, kind in REVIEWS.get((group_name, version), {}).items():
        answered = {"group": group_name, "version": version, "kind": kind}
        found.append(
            {"resource": plural, "responseKind": answered, "scope": "Cluster", "singularResource": kind.lower(),
             "verbs": ["create"]}
        )  # fmt: skip
    return found


def _aggregated_sub(resource: Resource, sub: str) -> Object:
    group_name, version, kind, verbs = _sub_kind(resource, sub)
    answered = {"group": group_name, "version": version, "kind": kind}
    return {"subresource": sub, "responseKind": answered, "verbs": verbs}
