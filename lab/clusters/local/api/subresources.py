"""Subresources that are not part of the object: scale, log, proxy, eviction, binding, token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from lab.clusters.local.api import bodies, patch
from lab.clusters.local.api.answers import answer_json, success
from lab.clusters.local.api.backend import IssueToken, NodeBackend
from lab.clusters.local.api.errors import (
    BadRequest,
    Conflict,
    Invalid,
    MethodNotAllowed,
    NotFound,
    UnsupportedMedia,
)
from lab.clusters.local.api.objects import Object, metadata
from lab.clusters.local.api.proxy import PodProxy
from lab.clusters.local.api.schema import decode
from lab.clusters.local.api.store import Store
from lab.clusters.local.api.target import Target, dry_run, flag, whole

FIRST_LINE_S = 0.25
"""How long a log request waits for its first piece before it answers 200: long enough for an error to be told."""


class Subresources:
    """Answers for every subresource but status."""

    def __init__(self, store: Store, backend: NodeBackend, proxy: PodProxy, issue_token: IssueToken | None) -> None:
        self._store = store
        self._backend = backend
        self._proxy = proxy
        self._issue_token = issue_token

    async def handle(self, request: Request, target: Target) -> Response:
        """The answer to one request. Raises ApiError."""
        match target.plural, target.subresource, request.method:
            case "pods", "proxy", _:
                return await self._proxy.handle(request, target)
            case "nodes", "proxy", "GET":
                return self._node_proxy(target)
            case "pods", "log", "GET":
                return await self._log(request, target)
            case "pods", "eviction", "POST":
                return await self._evict(request, target)
            case "pods", "binding", "POST":
                return await self._bind(request, target)
            case "serviceaccounts", "token", "POST":
                return await self._token(request, target)
            case _, "scale", "GET":
                return answer_json(_scale(self._get(target)))
            case _, "scale", ("PUT" | "PATCH"):
                return await self._rescale(request, target)
        raise MethodNotAllowed("the server does not allow this method on the requested resource")

    def _get(self, target: Target) -> Object:
        return self._store.get(target.plural, target.namespace, target.name or "")

    async def _rescale(self, request: Request, target: Target) -> Response:
        kind = bodies.media_type(request)
        given = bodies.parse(await bodies.read(request), kind)
        current = _scale(self._get(target))
        if request.method == "PATCH":
            given = _patch_scale(kind, current, given)
        wanted, _ = decode("Scale", given)
        version = metadata(wanted).get("resourceVersion")
        if version and version != metadata(current)["resourceVersion"]:
            raise Conflict(
                f'Operation cannot be fulfilled on {target.resource.qualified} "{target.name}": the object has been '
                "modified; please apply your changes to the latest version and try again",
                plural=target.plural, group=target.resource.group, name=target.name or "",
            )  # fmt: skip
        replicas = (wanted.get("spec") or {}).get("replicas", 0)
        if replicas < 0:
            raise Invalid(f'Scale.autoscaling "{target.name}" is invalid: spec.replicas: Invalid value: {replicas}: '
                          "must be greater than or equal to 0")  # fmt: skip
        obj = self._get(target)
        obj["spec"]["replicas"] = replicas
        dry = dry_run(request.query_params)
        return answer_json(_scale(self._store.update(target.plural, target.namespace, obj, dry_run=dry)))

    async def _log(self, request: Request, target: Target) -> Response:
        query = request.query_params
        pod = self._get(target)
        lines = self._backend.logs(
            target.namespace or "",
            target.name or "",
            _container(pod, query),
            follow=flag(query, "follow"),
            tail=whole(query, "tailLines"),
            previous=flag(query, "previous"),
            since_seconds=_since_seconds(query),
            timestamps=flag(query, "timestamps"),
        )
        limited = _limited(lines, whole(query, "limitBytes"))
        return StreamingResponse(await _begun(limited), media_type="text/plain")

    async def _evict(self, request: Request, target: Target) -> Response:
        raw = bodies.parse_object(await bodies.read(request), bodies.media_type(request))
        options = decode("Eviction", raw)[0].get("deleteOptions") or {}
        self._store.delete(
            "pods", target.namespace, target.name or "",
            grace_seconds=options.get("gracePeriodSeconds"),
            precondition_uid=(options.get("preconditions") or {}).get("uid"),
            dry_run=dry_run(request.query_params) or options.get("dryRun") == ["All"],
        )  # fmt: skip
        return answer_json(success(), 201)

    async def _bind(self, request: Request, target: Target) -> Response:
        raw = bodies.parse_object(await bodies.read(request), bodies.media_type(request))
        node = (decode("Binding", raw)[0].get("target") or {}).get("name")
        if not node:
            raise BadRequest("target.name: Required value: the node to bind to")
        pod = self._get(target)
        if pod["spec"].get("nodeName"):
            raise Conflict(f'pod {target.name} is already assigned to node "{pod["spec"]["nodeName"]}"')
        pod["spec"]["nodeName"] = node
        self._store.update("pods", target.namespace, pod)
        return answer_json(success(), 201)

    async def _token(self, request: Request, target: Target) -> Response:
        if self._issue_token is None:
            raise NotFound("the server could not find the requested resource")
        raw = await bodies.read(request)
        given = bodies.parse_object(raw, bodies.media_type(request)) if raw.strip() else {}
        asked, _ = decode("TokenRequest", given)
        account = self._get(target)
        seconds = (asked.get("spec") or {}).get("expirationSeconds", 3600)
        if not 600 <= seconds <= 2**32:
            raise Invalid("spec.expirationSeconds: Invalid value: may not be less than 10 minutes or larger than 2^32")
        token = self._issue_token(target.namespace or "", metadata(account)["name"], seconds)
        expires = datetime.now(UTC) + timedelta(seconds=seconds)
        return answer_json(
            {
                "kind": "TokenRequest",
                "apiVersion": "authentication.k8s.io/v1",
                "metadata": {"name": target.name, "namespace": target.namespace},
                "spec": {**(asked.get("spec") or {}), "expirationSeconds": seconds},
                "status": {"token": token, "expirationTimestamp": expires.strftime("%Y-%m-%dT%H:%M:%SZ")},
            },
            201,
        )

    def _node_proxy(self, target: Target) -> Response:
        self._get(target)
        match target.rest.strip("/"):
            case "metrics/resource":
                return PlainTextResponse(self._backend.resource_metrics())
            case "healthz":
                return PlainTextResponse("ok")
        raise NotFound(f"this node serves /metrics/resource and /healthz, not /{target.rest}")


def _scale(obj: Object) -> Object:
    """An autoscaling/v1 Scale of a Deployment or ReplicaSet."""
    meta = {
        k: v
        for k, v in metadata(obj).items()
        if k in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    }
    status = {
        "replicas": (obj.get("status") or {}).get("replicas", 0),
        "selector": _selector_text(obj["spec"]),
    }
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": meta,
        "spec": {"replicas": obj["spec"].get("replicas", 0)},
        "status": status,
    }


def _selector_text(spec: Object) -> str:
    selector = spec.get("selector") or {}
    terms = [f"{k}={v}" for k, v in sorted((selector.get("matchLabels") or {}).items())]
    words = {
        "In": "{key} in ({values})",
        "NotIn": "{key} notin ({values})",
        "Exists": "{key}",
        "DoesNotExist": "!{key}",
    }
    for e in selector.get("matchExpressions") or []:
        terms.append(words[e["operator"]].format(key=e["key"], values=",".join(e.get("values") or [])))
    return ",".join(terms)


def _patch_scale(kind: str, current: Object, change: Any) -> Any:
    match kind:
        case "application/json-patch+json":
            return patch.json_patch(current, change)
        case "application/merge-patch+json" | "application/strategic-merge-patch+json" | "application/apply-patch+yaml":
            return patch.merge_patch(current, change)
    raise UnsupportedMedia(f"the body of the request was in an unknown format {kind!r} for a patch")


def _container(pod: Object, query: Mapping[str, str]) -> str:
    """The container a log request means: the one named, or the only one. Raises BadRequest."""
    name = metadata(pod)["name"]
    names = [c["name"] for c in pod["spec"]["containers"]]
    init = [c["name"] for c in pod["spec"].get("initContainers") or []]
    asked = query.get("container")
    if asked:
        if asked not in [*names, *init]:
            raise BadRequest(f"container {asked} is not valid for pod {name}")
        return asked
    if len(names) > 1:
        told = f", choose one of: [{' '.join(names)}]" + (
            f" or one of the init containers: [{' '.join(init)}]" if init else ""
        )
        raise BadRequest(f"a container name must be specified for pod {name}{told}")
    return str(names[0])


def _since_seconds(query: Mapping[str, str]) -> int | None:
    """sinceSeconds, or sinceTime as seconds before now."""
    if stamp := query.get("sinceTime"):
        try:
            then = datetime.fromisoformat(stamp)
        except ValueError:
            raise BadRequest(f"invalid value for sinceTime: {stamp!r} is not an RFC 3339 time") from None
        then = then if then.tzinfo else then.replace(tzinfo=UTC)
        return max(0, int((datetime.now(UTC) - then).total_seconds()))
    return whole(query, "sinceSeconds")


async def _limited(pieces: AsyncIterator[bytes], limit: int | None) -> AsyncIterator[bytes]:
    left = limit
    async for piece in pieces:
        if left is None:
            yield piece
            continue
        yield piece[:left]
        left -= len(piece[:left])
        if left <= 0:
            return


async def _begun(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same pieces, begun: an error before the first one is raised here, while it can still be a Status."""
    first = asyncio.ensure_future(anext(pieces, None))
    await asyncio.wait({first}, timeout=FIRST_LINE_S)
    if first.done():
        first.result()  # raises what the backend raised

    async def rest() -> AsyncIterator[bytes]:
        try:
            piece = await first
            if piece is None:
                return
            yield piece
            async for piece in pieces:
                yield piece
        finally:
            first.cancel()

    return rest()
