"""One question to a container: is it well? By HTTP, TCP, the gRPC health protocol, or a command.

Shared by probes and lifecycle hooks. An attempt never raises; it says what it saw.
https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/
https://github.com/grpc/grpc/blob/master/doc/health-checking.md
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpx

from lab.clusters.local.kubelet.child import Exit


@dataclass(frozen=True)
class Outcome:
    ok: bool
    message: str


@dataclass(frozen=True)
class Target:
    """The container asked. ports: name → number. run: executes argv in the container → exit, output."""

    address: str
    ports: Mapping[str, int]
    run: Callable[[Sequence[str]], Awaitable[tuple[Exit, str]]]

    def port(self, port: int | str) -> int:
        """A probe's port, which may be the name of one. Raises ValueError."""
        if isinstance(port, int):
            return port
        if port in self.ports:
            return self.ports[port]
        if port.isdigit():
            return int(port)
        raise ValueError(f"the container has no port named {port!r}")


async def check(handler: Mapping[str, Any], target: Target, timeout_s: float | None) -> Outcome:
    """One attempt of a probe or hook. timeout_s: None waits as long as it takes."""
    try:
        async with asyncio.timeout(timeout_s):
            if action := handler.get("httpGet"):
                return await _http(action, target)
            if action := handler.get("tcpSocket"):
                return await _tcp(action, target)
            if action := handler.get("grpc"):
                return await _grpc(action, target)
            if action := handler.get("exec"):
                return await _exec(action, target)
            if action := handler.get("sleep"):
                await asyncio.sleep(action["seconds"])
                return Outcome(True, "slept")
    except TimeoutError:
        return Outcome(False, f"no answer within {timeout_s:g} s")
    except Exception as e:  # whatever a peer or a library comes up with is an answer: not well
        return Outcome(False, str(e) or type(e).__name__)
    return Outcome(False, "the handler has no httpGet, tcpSocket, grpc, exec or sleep")


async def _http(action: Mapping[str, Any], target: Target) -> Outcome:
    scheme = action.get("scheme", "HTTP").lower()
    host = action.get("host") or target.address
    path = action.get("path") or "/"
    url = f"{scheme}://{host}:{target.port(action['port'])}{path if path.startswith('/') else '/' + path}"
    headers = {h["name"]: h["value"] for h in action.get("httpHeaders") or ()}
    response = await _http_client().get(url, headers={"User-Agent": "kube-probe/local", **headers})
    ok = 200 <= response.status_code < 400
    return Outcome(ok, f"HTTP {'probe succeeded' if ok else 'probe failed'} with statuscode: {response.status_code}")


@cache
def _http_client() -> httpx.AsyncClient:
    """One client without kept connections: a probe asks whether a new connection is served."""
    limits = httpx.Limits(max_keepalive_connections=0)
    return httpx.AsyncClient(limits=limits, verify=False, trust_env=False, timeout=None, follow_redirects=False)


async def _tcp(action: Mapping[str, Any], target: Target) -> Outcome:
    _, writer = await asyncio.open_connection(action.get("host") or target.address, target.port(action["port"]))
    writer.close()
    return Outcome(True, "connected")


async def _grpc(action: Mapping[str, Any], target: Target) -> Outcome:
    import grpc.aio  # here, because it is large and only needed once a pod has such a probe
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    options = [
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_http_proxy", 0),
        ("grpc.enable_retries", 0),
    ]
    async with grpc.aio.insecure_channel(f"{target.address}:{action['port']}", options=options) as channel:
        request = health_pb2.HealthCheckRequest(service=action.get("service") or "")
        try:
            reply = await health_pb2_grpc.HealthStub(channel).Check(request)
        except grpc.aio.AioRpcError as e:
            return Outcome(False, f"gRPC health: {e.code().name}: {e.details()}")
    ok = reply.status == health_pb2.HealthCheckResponse.SERVING
    said = health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status)
    return Outcome(
        ok,
        f"service {'' if ok else 'un'}healthy ({said})",
    )


async def _exec(action: Mapping[str, Any], target: Target) -> Outcome:
    end, output = await target.run(action.get("command") or [])
    return Outcome(end.code == 0, output.strip()[-300:] or f"exit code {end.code}")
