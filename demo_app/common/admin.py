"""The admin port of every process: GET /metrics /ready /live, and GET PUT DELETE /fault where there is one.

Knows neither gRPC nor what readiness means: it asks.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from demo_app.common.faults import Fault, FaultError, FaultSwitch

MAX_BODY_BYTES = 4096


def admin_app(registry: CollectorRegistry, ready: Callable[[], bool], faults: FaultSwitch | None = None) -> Starlette:
    """ready(): whether new traffic is welcome (/ready answers 200 or 503). No `faults`, no /fault."""

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    async def is_ready(_: Request) -> Response:
        return PlainTextResponse("ready\n") if ready() else PlainTextResponse("not ready\n", 503)

    async def live(_: Request) -> Response:
        return PlainTextResponse("live\n")

    routes = [Route("/metrics", metrics), Route("/ready", is_ready), Route("/live", live)]
    if faults is not None:
        routes.append(Route("/fault", _fault_endpoint(faults), methods=["GET", "PUT", "DELETE"]))
    return Starlette(routes=routes)


def _fault_endpoint(faults: FaultSwitch) -> Callable[[Request], object]:
    async def fault(request: Request) -> Response:
        if request.method == "PUT":
            try:
                faults.fault = Fault.from_json(await _body(request))
            except FaultError as e:
                return JSONResponse({"error": str(e)}, 400)
        elif request.method == "DELETE":
            faults.fault = Fault()
        return JSONResponse(faults.fault.to_json())

    return fault


async def _body(request: Request) -> object:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise FaultError(f"the body is over {MAX_BODY_BYTES} bytes")
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise FaultError('the body is not JSON; want an object, e.g. {"delay_ms": 100}') from None
