"""The web front's HTTP: the page and its JSON. Knows no gRPC beyond the code of a failed call."""

from __future__ import annotations

import base64
import hashlib
import time
from collections import Counter
from pathlib import Path

import prometheus_client as prometheus
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from demo_app.web.errors import UnknownCandidateError, UpstreamError
from demo_app.web.upstreams import Upstreams

PAGE = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
# google.rpc.Code's HTTP mapping where the client can act on the difference, else 502: an upstream failed.
HTTP_STATUS = {"UNAVAILABLE": 503, "DEADLINE_EXCEEDED": 504, "RESOURCE_EXHAUSTED": 429, "NOT_FOUND": 404}


def _inline(tag: str) -> str:
    """The CSP hash source of the page's one <tag> element (CSP Level 3, section 2.3.1)."""
    text = PAGE.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


# The page carries its own style and script, and loads nothing.
SECURITY_HEADERS = {
    "content-security-policy": f"default-src 'none'; style-src {_inline('style')}; "
    f"script-src {_inline('script')}; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


def web_app(upstreams: Upstreams, registry: prometheus.CollectorRegistry) -> Starlette:
    """GET / , POST /api/vote/{candidate}, GET /api/candidates, GET /api/leaderboard."""
    served = Counter[str]()  # votes by pod, as this process saw them

    async def page(_: Request) -> Response:
        return HTMLResponse(PAGE)

    async def candidates(_: Request) -> Response:
        return JSONResponse({"candidates": await upstreams.candidates()})

    async def vote(request: Request) -> Response:
        candidate = request.path_params["candidate"]
        done = await upstreams.vote(candidate)
        served[done.served_by] += 1
        return JSONResponse({"candidate": candidate, "votes": done.votes, "served_by": done.served_by})

    async def leaderboard(_: Request) -> Response:
        """The tally is that of the pod that answers, named in served_by: votes are kept per pod."""
        pod, votes = await upstreams.results()
        known = {c["id"]: c for c in await upstreams.candidates()}
        leaders = [{**known[c], "votes": n} for c, n in votes.items() if c in known]
        return JSONResponse({"served_by": pod, "leaders": leaders, "pods": dict(sorted(served.items()))})

    return Starlette(
        routes=[
            Route("/", page),
            Route("/api/candidates", candidates),
            Route("/api/vote/{candidate}", vote, methods=["POST"]),
            Route("/api/leaderboard", leaderboard),
        ],
        middleware=[Middleware(HttpMetrics, registry=registry), Middleware(SecurityHeaders)],
        exception_handlers={UpstreamError: _upstream_failed, UnknownCandidateError: _not_found},
    )


async def _upstream_failed(_: Request, error: Exception) -> Response:
    assert isinstance(error, UpstreamError)
    code = error.code.name
    body = {"error": str(error), "code": code, "upstream": error.upstream}
    return JSONResponse(body, HTTP_STATUS.get(code, 502))


async def _not_found(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error), "code": "NOT_FOUND"}, 404)


class SecurityHeaders:
    """Every response carries SECURITY_HEADERS, error pages included."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._headers = [(k.encode(), v.encode()) for k, v in SECURITY_HEADERS.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *self._headers]
            await send(message)

        await self._app(scope, receive, with_headers)


class HttpMetrics:
    """`http_requests_total{path,method,code}` and `http_request_seconds{path}`; path: the template."""

    def __init__(self, app: ASGIApp, registry: prometheus.CollectorRegistry) -> None:
        self._app = app
        self._requests = prometheus.Counter(
            "http_requests", "HTTP requests ended.", ("path", "method", "code"), registry=registry
        )
        self._seconds = prometheus.Histogram(
            "http_request_seconds", "Time to the end of the response.", ("path",), registry=registry
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        status = 500

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            path, method = _labels(scope)
            self._requests.labels(path, method, str(status)).inc()
            self._seconds.labels(path).observe(time.perf_counter() - start)


def _labels(scope: Scope) -> tuple[str, str]:
    # Never the raw path or method: a caller could make a series of each.
    path = scope["path"]
    if path.startswith("/api/vote/"):
        path = "/api/vote/{candidate}"
    elif path not in ("/", "/api/candidates", "/api/leaderboard"):
        path = "other"
    method = scope["method"]
    return path, method if method in ("GET", "HEAD", "POST") else "other"
