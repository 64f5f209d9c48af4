"""OpenAPI v3 documents, made from the field table: what kubectl reads before `apply`, `explain` and `--validate`.

kubectl asks per group and version whether PATCH takes `fieldValidation` (then the server checks fields, as here) and
whether it takes strategic merge patches (then it builds them from the merge keys told here). There is no
/openapi/v2: it is wanted in protobuf only, by clients that find no v3.
https://kubernetes.io/docs/concepts/overview/kubernetes-api/#openapi-v3
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Any

from lab.clusters.local.api.errors import NotFound
from lab.clusters.local.api.merge_keys import merge_key, strategy
from lab.clusters.local.api.objects import Object
from lab.clusters.local.api.resources import RESOURCES, Resource, group_versions
from lab.clusters.local.api.schema import schema, type_of

_SCALARS: dict[str, Object] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "time": {"type": "string", "format": "date-time"},
    "bytes": {"type": "string", "format": "byte"},
    "any": {"type": "object"},
    "int-or-string": {"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string"},
    "quantity": {"oneOf": [{"type": "string"}, {"type": "number"}]},
}

_PATCH_TYPES = (
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
)


def root() -> Object:
    """GET /openapi/v3: where the document of each group and version is."""
    return {
        "paths": {
            _path(g, v): {"serverRelativeURL": f"/openapi/v3/{_path(g, v)}?hash={_digest()}"}
            for g, v in group_versions()
        }
    }


@cache
def document(path: str) -> Object:
    """GET /openapi/v3/PATH, where path is `api/v1` or `apis/GROUP/VERSION`. Raises NotFound."""
    for g, v in group_versions():
        if _path(g, v) == path:
            resources = [r for r in RESOURCES.values() if (r.group, r.version) == (g, v)]
            return {
                "openapi": "3.0.0",
                "info": {"title": "Kubernetes", "version": "v1.37.0"},
                "paths": {key: item for r in resources for key, item in _paths(r).items()},
                "components": {"schemas": _schemas(resources)},
            }
    raise NotFound("the server could not find the requested resource")


def _path(group: str, version: str) -> str:
    return f"apis/{group}/{version}" if group else f"api/{version}"


@cache
def _digest() -> str:
    parts = (Path(__file__).with_name(name).read_bytes() for name in ("schema.json", "openapi.py", "merge_keys.py"))
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16].upper()


def _paths(resource: Resource) -> Object:
    base = f"/{_path(resource.group, resource.version)}"
    base += f"/namespaces/{{namespace}}/{resource.plural}" if resource.namespaced else f"/{resource.plural}"
    body = {"schema": _ref(type_of(resource.kind))}
    names = ["name", *(["namespace"] if resource.namespaced else [])]
    in_path = [{"name": n, "in": "path", "required": True, "schema": {"type": "string"}} for n in names]
    written = {
        "requestBody": {"content": {"application/json": body}},
        "parameters": [_query("fieldValidation")],
    }
    patched = {
        "requestBody": {"content": {kind: {"schema": {"type": "object"}} for kind in _PATCH_TYPES}},
        "parameters": [
            *(_query(n) for n in ("dryRun", "fieldManager", "fieldValidation")),
            _query("force", "boolean"),
        ],
    }
    return {
        base: {"get": _operation(resource, "list"), "post": _operation(resource, "post", **written)},
        base + "/{name}": {
            "parameters": in_path,
            "get": _operation(resource, "get"),
            "put": _operation(resource, "put", **written),
            "patch": _operation(resource, "patch", **patched),
            "delete": _operation(resource, "delete"),
        },
    }


def _operation(resource: Resource, action: str, **more: Any) -> Object:
    answer = {"application/json": {"schema": _ref(type_of(resource.kind))}}
    return {
        **more,
        "responses": {"200": {"description": "OK", "content": answer}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": _gvk(resource),
    }


def _query(name: str, kind: str = "string") -> Object:
    return {"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": True}}


def _gvk(resource: Resource) -> Object:
    return {"group": resource.group, "version": resource.version, "kind": resource.kind}


def _ref(type_name: str) -> Object:
    return {"$ref": f"#/components/schemas/{type_name}"}


def _schemas(resources: list[Resource]) -> Object:
    """The schemas of these resources and of every type they reach."""
    kinds = {type_of(r.kind): r for r in resources}
    waiting, found = list(kinds), dict[str, Object]()
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        fields = schema()[name]
        found[name] = {
            "type": "object",
            "properties": {f: _property(name, f, kind) for f, kind in fields.items()},
        }
        if name in kinds:
            found[name]["x-kubernetes-group-version-kind"] = [_gvk(kinds[name])]
        waiting += [t for kind in fields.values() for t in re.findall(r"\w+", kind) if t in schema()]
    return found


def _property(type_name: str, field: str, kind: str) -> Object:
    told = _type(kind)
    if kind in schema():
        told = {"allOf": [told], "default": {}}
    if how := strategy(type_name, field):
        told["x-kubernetes-patch-strategy"] = how
    if key := merge_key(type_name, field):
        told.update({"x-kubernetes-patch-merge-key": key, "x-kubernetes-list-type": "map"})
        told["x-kubernetes-list-map-keys"] = [key]
    return told


def _type(kind: str) -> Object:
    if kind.startswith("["):
        return {"type": "array", "items": _type(kind[1:-1])}
    if kind.startswith("{"):
        return {"type": "object", "additionalProperties": _type(kind[1:-1])}
    return _ref(kind) if kind in schema() else dict(_SCALARS[kind])
