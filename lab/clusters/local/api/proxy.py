"""The pods/proxy subresource: an HTTP request to a pod, through the API server.

Path: /api/v1/namespaces/NS/pods/[SCHEME:]NAME[:PORT]/proxy/REST, all methods, path and query passed on as they are.
The caller's credentials stay here; the pod never sees them.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import httpx
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from lab.clusters.local.api.backend import NodeBackend
from lab.clusters.local.api.errors import BadGateway, BadRequest, NotImplementedHere, Unavailable
from lab.clusters.local.api.objects import Object
from lab.clusters.local.api.store import Store
from lab.clusters.local.api.target import Target

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 60.0
"""Between two pieces of an answer; a pod that is silent for longer is given up."""

_HOP_BY_HOP = frozenset(
    ("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding",
     "upgrade")
)  # fmt: skip
"""RFC 9110 section 7.6.1: these concern one connection and are not passed on."""


class PodProxy:
    """Passes requests on to pods. `close` it when the server stops."""

    def __init__(self, store: Store, backend: NodeBackend) -> None:
        self._store = store
        self._backend = backend
        timeout = httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        self._client = httpx.AsyncClient(timeout=timeout, trust_env=False, follow_redirects=False, verify=False)

    async def close(self) -> None:
        await self._client.aclose()

    async def handle(self, request: Request, target: Target) -> Response:
        """The pod's answer. Raises NotFound (no such pod), Unavailable (no address), BadGateway (no answer)."""
        scheme, name, port = _split_name(target.name or "")
        pod = self._store.get("pods", target.namespace, name)
        if "upgrade" in request.headers:
            raise NotImplementedHere("the proxy subresource does not pass on upgraded connections here")
        address = self._backend.pod_address(target.namespace or "", name)
        if address is None:
            raise Unavailable(f"pod {name} has no address yet; it is {pod.get('status', {}).get('phase', 'unknown')}")
        query = request.url.query
        url = f"{scheme}://{address}:{_port(pod, port)}/{target.rest}" + (f"?{query}" if query else "")
        dropped = _HOP_BY_HOP | {"host", "authorization", "cookie"}
        headers = [(k, v) for k, v in request.headers.raw if k.decode("latin-1").lower() not in dropped]
        has_body = "content-length" in request.headers or "transfer-encoding" in request.headers
        content = request.stream() if has_body else None
        try:
            outgoing = self._client.build_request(request.method, url, headers=headers, content=content)
            answer = await self._client.send(outgoing, stream=True)
        except (httpx.HTTPError, httpx.InvalidURL) as e:
            raise BadGateway(f"error trying to reach pod {name} at {address}: {type(e).__name__}: {e}") from e
        response = StreamingResponse(_pieces(answer), answer.status_code, background=BackgroundTask(answer.aclose))
        kept = [(k, v) for k, v in answer.headers.raw if k.decode("latin-1").lower() not in _HOP_BY_HOP]
        response.raw_headers = [(k.lower(), v) for k, v in kept]
        return response


async def _pieces(answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for piece in answer.aiter_raw():
            yield piece
    except httpx.HTTPError as e:
        log.info("a pod's answer ended early: %s", type(e).__name__)
        raise
    finally:
        await answer.aclose()


def _split_name(text: str) -> tuple[str, str, str]:
    """`NAME`, `NAME:PORT` or `SCHEME:NAME:PORT` as (scheme, name, port)."""
    parts = text.split(":")
    if len(parts) == 1:
        return "http", parts[0], ""
    scheme, name, port = parts if len(parts) == 3 else ("http", *parts) if len(parts) == 2 else ("", "", "")
    if scheme not in ("", "http", "https") or not name:
        raise BadRequest(f"invalid pod request {text!r}; it is written as NAME:PORT or http:NAME:PORT")
    return scheme or "http", name, port


def _port(pod: Object, text: str) -> int:
    """The port by number or by its name in the pod; without one, the first port of the pod, else 80."""
    ports = [p for c in pod["spec"]["containers"] for p in c.get("ports") or []]
    if not text:
        return int(ports[0]["containerPort"]) if ports else 80
    if text.isascii() and text.isdigit():
        if 1 <= int(text[:6]) <= 65535:
            return int(text)
    else:
        for port in ports:
            if port.get("name") == text:
                return int(port["containerPort"])
    raise BadRequest(f"{text!r} is neither a port number nor the name of a port of the pod")
