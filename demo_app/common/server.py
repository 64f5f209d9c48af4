"""A gRPC server as pods want one: health, reflection, metrics, faults, admin port, and a drain on SIGTERM.

Knows no service of the app: each comes as a `register` function. Drain: not ready and NOT_SERVING at once;
the pre-drain wait, for Kubernetes needs time to take the pod out of its EndpointSlices; the calls under way;
exit.
Sources: https://github.com/grpc/grpc/blob/master/doc/health-checking.md, KEP-1669 (terminating endpoints).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import CollectorRegistry

from demo_app.common import config, lifecycle, sockets
from demo_app.common.admin import admin_app
from demo_app.common.faults import FaultSwitch
from demo_app.common.http import HttpServer
from demo_app.common.interceptors import FaultInterceptor, MetricsInterceptor
from demo_app.common.metrics import ServerMetrics, new_registry

Register = Callable[[grpc.aio.Server], None]
HealthServicer: Any = health.aio.HealthServicer  # type: ignore[attr-defined]  # the stubs leave it out


@dataclass(frozen=True)
class ServerOptions:
    """Options of every gRPC server of the app."""

    listen: str = config.option("LISTEN", "127.0.0.1:8080", config.address, "gRPC address, HOST:PORT")
    admin: str = config.option("ADMIN", "127.0.0.1:9100", config.address, "admin HTTP address, HOST:PORT")
    pod: str | None = config.option("POD_NAME", None, config.words, "name to give as served_by; host name if unset")
    pre_drain: float = config.option(
        "PRE_DRAIN_SECONDS", "1", config.number(0), "seconds to go on serving after SIGTERM"
    )
    grace: float = config.option(
        "GRACE_SECONDS", "20", config.number(0), "seconds for calls under way to end after that"
    )


async def serve(options: ServerOptions, services: Sequence[str], register: Register) -> int:
    """Serve until SIGTERM or SIGINT and drain; a second signal ends at once. Gives the exit code, 0.

    services: full names, for health and reflection. Raises PortTakenError.
    """
    signals = lifecycle.StopSignals()
    registry: CollectorRegistry = new_registry()
    faults = FaultSwitch()
    admin = HttpServer(admin_app(registry, lambda: not signals.stop.is_set(), faults), options.admin, "admin")
    server = grpc.aio.server(
        interceptors=(MetricsInterceptor(ServerMetrics(registry)), FaultInterceptor(faults)),
        # Without this a second process would share the port and take half of the connections.
        options=(("grpc.so_reuseport", 0),),
    )
    register(server)
    checks = await _add_health_and_reflection(server, services)
    address = await _start(server, options.listen)
    await admin.start()
    lifecycle.say(f"serving {', '.join(services)} on {address}, admin on {admin.address}")
    await signals.stop.wait()
    await _drain(server, checks, signals, options)
    await admin.stop()
    return 0


async def _add_health_and_reflection(server: grpc.aio.Server, services: Sequence[str]) -> Any:
    checks = HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    for name in ("", *services):  # "" is the server as a whole
        await checks.set(name, health_pb2.HealthCheckResponse.SERVING)
    reflection.enable_server_reflection((*services, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    return checks


async def _start(server: grpc.aio.Server, listen: str) -> str:
    """Bind and start; gives HOST:PORT as bound."""
    if not listen.endswith(":0"):
        # Tried first: grpc logs lines of its own when it fails, and hides the reason.
        sockets.bind(listen, "gRPC").close()
    try:
        port = server.add_insecure_port(listen)
    except RuntimeError as e:
        raise sockets.port_taken(listen, "gRPC", "the address could not be bound") from e
    await server.start()
    return f"{listen.rpartition(':')[0]}:{port}"


async def _drain(
    server: grpc.aio.Server,
    checks: Any,
    signals: lifecycle.StopSignals,
    options: ServerOptions,
) -> None:
    lifecycle.say(f"draining: serving {options.pre_drain:g} s more, then {options.grace:g} s for calls under way")
    await checks.enter_graceful_shutdown()
    if not await lifecycle.wait_for(signals.quick, options.pre_drain):
        stopping = asyncio.create_task(server.stop(options.grace))
        hurry = asyncio.create_task(signals.quick.wait())
        await asyncio.wait((stopping, hurry), return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
    await server.stop(None)
