"""Responses: JSON, errors as Status, and objects or lists in the form the client accepts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from lab.clusters.local.api.errors import ApiError, BadRequest
from lab.clusters.local.api.negotiate import accepted
from lab.clusters.local.api.objects import Object
from lab.clusters.local.api.resources import Resource
from lab.clusters.local.api.tables import partial, table


def answer_json(value: Any, code: int = 200, *, content_type: str = "application/json") -> Response:
    """Any JSON value."""
    body = json.dumps(value, separators=(",", ":")).encode()
    return Response(body, code, media_type=content_type)


def answer_error(error: ApiError) -> Response:
    """The error as a metav1.Status."""
    response = answer_json(error.status(), error.code)
    if error.code == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def answer_object(
    request: Request, resource: Resource, obj: Object, code: int = 200, *, unknown: Sequence[str] = ()
) -> Response:
    """One object in the form asked for; unknown: fields that were ignored, told as warnings (RFC 7234 5.5)."""
    wanted = accepted(request.headers.get("accept"))
    version = obj.get("metadata", {}).get("resourceVersion", "")
    shown = obj
    if wanted.form == "table":
        shown = table(resource.plural, [obj], {"resourceVersion": version}, include=included(request))
    elif wanted.form == "metadata":
        shown = partial(obj)
    response = answer_json(shown, code)
    for path in list(unknown)[:50]:
        text = f'unknown field "{path}"'.encode("ascii", "backslashreplace").decode()
        quoted = text.replace("\\", "\\\\").replace('"', '\\"')
        response.headers.append("Warning", f'299 - "{_printable(quoted)}"')
    return response


def answer_list(request: Request, resource: Resource, items: list[Object], version: str) -> Response:
    """A list in the form asked for."""
    wanted = accepted(request.headers.get("accept"))
    meta = {"resourceVersion": version}
    if wanted.form == "table":
        return answer_json(table(resource.plural, items, meta, include=included(request)))
    if wanted.form == "metadata":
        shown = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": meta}
        return answer_json({**shown, "items": [partial(obj) for obj in items]})
    return answer_json(
        {"kind": f"{resource.kind}List", "apiVersion": resource.api_version, "metadata": meta, "items": items}
    )


def included(request: Request) -> str:
    """What table rows carry of their object."""
    wanted = request.query_params.get("includeObject") or "Metadata"
    if wanted not in ("None", "Metadata", "Object"):
        raise BadRequest(f"invalid value for includeObject: {wanted!r}; it is None, Metadata or Object")
    return wanted


def success(resource: Resource | None = None, name: str = "", uid: str = "") -> Object:
    """A metav1.Status that tells of success."""
    status: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    if resource is not None:
        status["details"] = {"name": name, "group": resource.group, "kind": resource.plural, "uid": uid}
    return status


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)[:300]
