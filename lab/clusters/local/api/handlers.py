"""The resource verbs over HTTP: get, list, watch, create, update, patch, delete.

First file to read: `store.py`. A request becomes a `Target`, its body plain JSON, then a typed object; then the
store decides. Subresources other than status are in `subresources.py`.
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from lab.clusters.local.api import bodies, patch
from lab.clusters.local.api.answers import answer_json, answer_list, answer_object, included, success
from lab.clusters.local.api.errors import (
    BadRequest,
    Gone,
    Invalid,
    MethodNotAllowed,
    NotFound,
    UnsupportedMedia,
)
from lab.clusters.local.api.negotiate import accepted
from lab.clusters.local.api.objects import Object, metadata
from lab.clusters.local.api.resources import Resource
from lab.clusters.local.api.schema import decode, type_of
from lab.clusters.local.api.selectors import object_filter
from lab.clusters.local.api.store import Store, parse_version
from lab.clusters.local.api.subresources import Subresources
from lab.clusters.local.api.tables import partial, table
from lab.clusters.local.api.target import Target, dry_run, flag, parse_path, raw_path, whole
from lab.clusters.local.api.watches import MAX_SECONDS, Watches, WatchRequest

_RETURNS_OBJECT = ("pods", "services", "serviceaccounts")
"""Kinds whose DELETE answers with the object, not a Status, as their OpenAPI says."""


class Handlers:
    """Answers every request under /api/v1/ and /apis/GROUP/VERSION/."""

    def __init__(self, store: Store, watches: Watches, subresources: Subresources) -> None:
        self._store = store
        self._watches = watches
        self._subresources = subresources

    async def handle(self, request: Request) -> Response:
        """The answer to one request. Raises ApiError."""
        target = parse_path(raw_path(request))
        if target.subresource not in (None, "status", "finalize"):
            return await self._subresources.handle(request, target)
        if target.namespace is None and target.resource.namespaced and target.name is not None:
            raise NotFound("the server could not find the requested resource")
        match request.method, target.name:
            case (("GET" | "HEAD"), None):
                watching = flag(request.query_params, "watch")
                return self._watch(request, target) if watching else self._list(request, target)
            case (("GET" | "HEAD"), str(name)):
                obj = self._store.get(target.plural, target.namespace, name)
                return answer_object(request, target.resource, obj)
            case "POST", None:
                return await self._create(request, target)
            case "PUT", str(_):
                return await self._update(request, target)
            case "PATCH", str(_):
                return await self._patch(request, target)
            case "DELETE", str(_) if target.subresource is None:
                return await self._delete(request, target)
            case "DELETE", None:
                return await self._delete_collection(request, target)
        raise MethodNotAllowed("the server does not allow this method on the requested resource")

    # Reading

    def _list(self, request: Request, target: Target) -> Response:
        query = request.query_params
        items, version = self._store.list(target.plural, target.namespace)
        if query.get("continue"):
            raise Gone("The provided continue parameter is too old: lists here come in one piece")
        if asked := query.get("resourceVersion"):
            wanted = parse_version(asked)
            if query.get("resourceVersionMatch") == "Exact" and wanted != int(version):
                raise Gone(f"The resourceVersion for the provided list is too old: {wanted} ({version})")
        keep = object_filter(target.plural, query.get("labelSelector", ""), query.get("fieldSelector", ""))
        return answer_list(request, target.resource, [obj for obj in items if keep(obj)], version)

    def _watch(self, request: Request, target: Target) -> Response:
        query = request.query_params
        initial = flag(query, "sendInitialEvents")
        if initial and query.get("resourceVersionMatch") != "NotOlderThan":
            raise Invalid("sendInitialEvents: Forbidden: it needs resourceVersionMatch=NotOlderThan")
        seconds = whole(query, "timeoutSeconds")
        asked = WatchRequest(
            target=target,
            keep=object_filter(target.plural, query.get("labelSelector", ""), query.get("fieldSelector", "")),
            since=query.get("resourceVersion"),
            bookmarks=flag(query, "allowWatchBookmarks"),
            initial_events=initial,
            timeout_s=min(float(seconds or MAX_SECONDS), MAX_SECONDS),
        )
        form, include, header = accepted(request.headers.get("accept")).form, included(request), [True]

        def render(obj: Object) -> Object:
            if form == "metadata":
                return partial(obj)
            if form != "table":
                return obj
            shown = table(target.plural, [obj], _version_only(obj), include=include, header=header[0])
            header[0] = False  # the columns are told once, with the first row
            return shown

        return StreamingResponse(self._watches.start(asked, render), media_type="application/json")

    # Writing

    async def _create(self, request: Request, target: Target) -> Response:
        obj, unknown = await self._typed_body(request, target.resource)
        namespace = target.namespace
        if target.resource.namespaced and namespace is None:
            raise MethodNotAllowed("the server does not allow this method on the requested resource")
        made = self._store.create(target.plural, namespace, obj, dry_run=dry_run(request.query_params))
        return answer_object(request, target.resource, made, 201, unknown=unknown)

    async def _update(self, request: Request, target: Target) -> Response:
        obj, unknown = await self._typed_body(request, target.resource)
        _check_name(target, obj)
        kept = self._write(request, target, obj)
        return answer_object(request, target.resource, kept, unknown=unknown)

    async def _patch(self, request: Request, target: Target) -> Response:
        kind = bodies.media_type(request)
        change = bodies.parse(await bodies.read(request), kind)
        if kind == "application/apply-patch+yaml":
            return self._apply(request, target, change)
        current = self._store.get(target.plural, target.namespace, target.name or "")
        obj, unknown = self._typed(request, target.resource, patched(target.resource, kind, current, change))
        _check_name(target, obj)
        return answer_object(request, target.resource, self._write(request, target, obj), unknown=unknown)

    def _apply(self, request: Request, target: Target, applied: Any) -> Response:
        if not request.query_params.get("fieldManager"):
            raise BadRequest(
                "PatchOptions.meta.k8s.io is invalid: fieldManager: Required value: is required for apply patch"
            )
        obj, unknown = self._typed(request, target.resource, applied)
        _check_name(target, obj)
        try:
            current = self._store.get(target.plural, target.namespace, target.name or "")
        except NotFound:
            if target.subresource is not None:
                raise
            made = self._store.create(target.plural, target.namespace, obj, dry_run=dry_run(request.query_params))
            return answer_object(request, target.resource, made, 201, unknown=unknown)
        merged = patch.apply(type_of(target.resource.kind), current, obj)
        return answer_object(request, target.resource, self._write(request, target, merged), unknown=unknown)

    def _write(self, request: Request, target: Target, obj: Object) -> Object:
        status = "status" if target.subresource == "status" else None
        dry = dry_run(request.query_params)
        return self._store.update(target.plural, target.namespace, obj, subresource=status, dry_run=dry)

    async def _delete(self, request: Request, target: Target) -> Response:
        name = target.name or ""
        last = self._store.delete(target.plural, target.namespace, name, **await self._delete_options(request))
        if target.plural in _RETURNS_OBJECT or _still_there(self._store, target, last):
            return answer_object(request, target.resource, last)
        return answer_json(success(target.resource, name, metadata(last).get("uid", "")))

    async def _delete_collection(self, request: Request, target: Target) -> Response:
        if target.plural == "namespaces":
            raise MethodNotAllowed("the server does not allow this method on the requested resource")
        options = await self._delete_options(request)
        query = request.query_params
        keep = object_filter(target.plural, query.get("labelSelector", ""), query.get("fieldSelector", ""))
        found, _ = self._store.list(target.plural, target.namespace)
        gone = [
            self._store.delete(target.plural, metadata(obj).get("namespace"), metadata(obj)["name"], **options)
            for obj in found
            if keep(obj)
        ]
        return answer_list(request, target.resource, gone, self._store.resource_version)

    async def _delete_options(self, request: Request) -> dict[str, Any]:
        """The options of a DELETE, from its body and its query; the query wins."""
        raw = await bodies.read(request)
        given: Object = {}
        if raw.strip():
            given, _ = decode("DeleteOptions", bodies.parse_object(raw, bodies.media_type(request)))
        query = request.query_params
        propagation = query.get("propagationPolicy") or given.get("propagationPolicy")
        if propagation not in (None, "Orphan", "Background", "Foreground"):
            raise Invalid(f'propagationPolicy: Unsupported value: "{propagation}": supported values: "Background", '
                          '"Foreground", "Orphan"')  # fmt: skip
        grace = whole(query, "gracePeriodSeconds")
        if given.get("orphanDependents") or flag(query, "orphanDependents"):
            propagation = "Orphan"
        return {
            "grace_seconds": grace if grace is not None else given.get("gracePeriodSeconds"),
            "precondition_uid": (given.get("preconditions") or {}).get("uid"),
            "propagation": propagation,
            "dry_run": dry_run(query) or given.get("dryRun") == ["All"],
        }

    # Helpers

    async def _typed_body(self, request: Request, resource: Resource) -> tuple[Object, list[str]]:
        kind = bodies.media_type(request)
        if "patch" in kind:
            raise UnsupportedMedia(f"the body of the request was in an unknown format {kind!r}")
        return self._typed(request, resource, bodies.parse_object(await bodies.read(request), kind))

    def _typed(self, request: Request, resource: Resource, value: Any) -> tuple[Object, list[str]]:
        """The value as this kind of object, and its unknown fields by fieldValidation (Strict refuses them)."""
        obj, unknown = decode(resource.kind, value)
        for field, expected in (("kind", resource.kind), ("apiVersion", resource.api_version)):
            if obj.get(field, expected) != expected:
                raise BadRequest(
                    f"the {field} in the data ({obj[field]}) does not match the expected {field} ({expected})"
                )
        how = request.query_params.get("fieldValidation") or "Warn"
        if how not in ("Strict", "Warn", "Ignore"):
            raise Invalid(f'fieldValidation: Unsupported value: "{how}": supported values: "Ignore", "Strict", "Warn"')
        if unknown and how == "Strict":
            told = ", ".join(f'unknown field "{path}"' for path in unknown)
            raise BadRequest(
                f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: '
                f"strict decoding error: {told}"
            )
        return obj, unknown if how == "Warn" else []


def patched(resource: Resource, kind: str, current: Object, change: Any) -> Any:
    """The current object with a patch of media type `kind` applied. Raises UnsupportedMedia and the patch's errors."""
    match kind:
        case "application/json-patch+json":
            return patch.json_patch(current, change)
        case "application/merge-patch+json":
            if not isinstance(change, dict):
                raise BadRequest("a merge patch of an object is an object")
            return patch.merge_patch(current, change)
        case "application/strategic-merge-patch+json":
            return patch.strategic_merge(type_of(resource.kind), current, change)
    raise UnsupportedMedia(f"the body of the request was in an unknown format {kind!r} for a patch")


def _check_name(target: Target, obj: Object) -> None:
    meta = obj.setdefault("metadata", {})
    given = meta.setdefault("name", target.name)
    if given != target.name:
        raise BadRequest(f"the name of the object ({given}) does not match the name on the URL ({target.name})")
    if target.namespace is not None and meta.setdefault("namespace", target.namespace) != target.namespace:
        raise BadRequest("the namespace of the object does not match the namespace on the URL")


def _still_there(store: Store, target: Target, last: Object) -> bool:
    try:
        held = store.get(target.plural, target.namespace, target.name or "")
    except NotFound:
        return False
    return metadata(held).get("uid") == metadata(last).get("uid")


def _version_only(obj: Object) -> Object:
    return {"resourceVersion": metadata(obj).get("resourceVersion", "")}
