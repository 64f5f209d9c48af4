"""The ASGI application: routes, authentication, and errors as Status objects.

`build_app` is the way in; `serve.py` puts it on a socket.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lab.clusters.local.api import bodies, discovery, openapi
from lab.clusters.local.api.answers import answer_error, answer_json
from lab.clusters.local.api.backend import Authenticate, IssueToken, NodeBackend
from lab.clusters.local.api.errors import ApiError, InternalError, NotFound, Unauthorized
from lab.clusters.local.api.handlers import Handlers
from lab.clusters.local.api.negotiate import accepted
from lab.clusters.local.api.objects import timestamp
from lab.clusters.local.api.proxy import PodProxy
from lab.clusters.local.api.schema import decode
from lab.clusters.local.api.store import Store
from lab.clusters.local.api.subresources import Subresources
from lab.clusters.local.api.watches import Watches

log = logging.getLogger(__name__)

VERSION = {"major": "1", "minor": "37", "gitVersion": "v1.37.0+balance-lab", "gitCommit": "", "gitTreeState": "clean",
           "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "", "platform": "linux/amd64"}  # fmt: skip
"""The Kubernetes version whose API is spoken."""

BOOKMARK_EVERY_S = 15.0

_PUBLIC = frozenset(("/healthz", "/livez", "/readyz", "/version"))
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

Endpoint = Callable[[Request], Awaitable[Response]]


def build_app(
    store: Store,
    backend: NodeBackend,
    authenticate: Authenticate,
    *,
    issue_token: IssueToken | None = None,
    bookmark_every_s: float = BOOKMARK_EVERY_S,
) -> Starlette:
    """The API server over `store`.

    backend: answers for logs, proxy and node metrics. authenticate: takes a bearer token, returns a user name or None.
    issue_token: makes tokens for serviceaccounts/token; without it that subresource answers 404.
    `app.state.close_watches()` ends every open watch; `serve.serve` calls it when stopping.
    """
    watches = Watches(store, bookmark_every_s)
    proxy = PodProxy(store, backend)
    handlers = Handlers(store, watches, Subresources(store, backend, proxy, issue_token))

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        watches.close()
        await proxy.close()

    app = Starlette(lifespan=lifespan, routes=_routes(handlers))
    app.router.redirect_slashes = False
    app.add_middleware(_Guard, authenticate=authenticate)
    app.state.close_watches = watches.close
    return app


def _routes(handlers: Handlers) -> list[Route]:
    async def version(_: Request) -> Response:
        return answer_json(VERSION)

    async def health(_: Request) -> Response:
        return PlainTextResponse("ok")

    async def api(request: Request) -> Response:
        if accepted(request.headers.get("accept")).form == "discovery":
            kind = accepted(request.headers.get("accept")).content_type
            return answer_json(discovery.aggregated(request.url.path.strip("/") == "api"), content_type=kind)
        core = request.url.path.strip("/") == "api"
        return answer_json(discovery.core_versions() if core else discovery.groups())

    async def group(request: Request) -> Response:
        return answer_json(discovery.group(request.path_params["group"]))

    async def resources(request: Request) -> Response:
        found = request.path_params
        return answer_json(discovery.resource_list(found.get("group", ""), found["version"]))

    async def openapi_root(_: Request) -> Response:
        return answer_json(openapi.root())

    async def openapi_document(request: Request) -> Response:
        return answer_json(openapi.document(request.path_params["path"]))

    async def missing(request: Request) -> Response:
        raise NotFound("the server could not find the requested resource")

    read = ["GET"]
    return [
        *(Route(path, health, methods=read) for path in ("/healthz", "/livez", "/readyz")),
        Route("/version", version, methods=read),
        *(Route(path, api, methods=read) for path in ("/api", "/api/", "/apis", "/apis/")),
        Route("/apis/{group}", group, methods=read),
        Route("/api/{version}", resources, methods=read),
        Route("/apis/{group}/{version}", resources, methods=read),
        Route("/openapi/v3", openapi_root, methods=read),
        Route("/openapi/v3/{path:path}", openapi_document, methods=read),
        Route("/apis/{group}/{version}/{review}", _review, methods=["POST"]),
        Route("/api/{path:path}", handlers.handle, methods=_METHODS),
        Route("/apis/{path:path}", handlers.handle, methods=_METHODS),
        Route("/{path:path}", missing, methods=_METHODS),
    ]


async def _review(request: Request) -> Response:
    """Self reviews: who am I, may I. Roles are stored here, not enforced, so the answer is yes."""
    found = request.path_params
    kind = discovery.REVIEWS.get((found["group"], found["version"]), {}).get(found["review"])
    if kind is None:
        raise NotFound("the server could not find the requested resource")
    asked, _ = decode(kind, bodies.parse_object(await bodies.read(request), bodies.media_type(request)))
    everything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
    status = {
        "SelfSubjectReview": {"userInfo": {"username": request.scope["user_name"]}},
        "SelfSubjectAccessReview": {"allowed": True, "reason": "roles are not enforced in this cluster"},
        "SelfSubjectRulesReview": {
            "resourceRules": [everything],
            "nonResourceRules": [],
            "incomplete": False,
        },
    }[kind]
    asked.update(kind=kind, apiVersion=f"{found['group']}/{found['version']}", status=status)
    asked.setdefault("metadata", {"creationTimestamp": timestamp()})
    return answer_json(asked, 201)


class _Guard:
    """Lets in who has a token, and turns every error into a Status. Plain ASGI, so that streams pass untouched."""

    def __init__(self, app: ASGIApp, authenticate: Authenticate) -> None:
        self._app = app
        self._authenticate = authenticate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            if scope["path"] not in _PUBLIC:
                scope["user_name"] = self._user(Request(scope))
            await self._app(scope, receive, watched)
        except ApiError as e:
            if started:
                raise
            await answer_error(e)(scope, receive, send)
        except Exception as e:
            if started:
                raise
            log.exception("%s %s failed", scope["method"], scope["path"])
            await answer_error(InternalError(f"Internal error occurred: {type(e).__name__}"))(scope, receive, send)

    def _user(self, request: Request) -> str:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        user = self._authenticate(token.strip()) if scheme.lower() == "bearer" and token.strip() else None
        if user is None:
            raise Unauthorized("Unauthorized")
        return user
