"""What happens around every unary call: it is counted and timed, and the fault in force is played.

Streams (health Watch and reflection) pass untouched, for the app has none of its own. Knows no method.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, cast

import grpc

from demo_app.common.faults import FaultSwitch
from demo_app.common.grpc_types import Context, Handler
from demo_app.common.metrics import ServerMetrics

SPARED = ("grpc.health.", "grpc.reflection.")

Behaviour = Callable[[Any, Context], Awaitable[Any]]
Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Handler]]


class UnaryInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in the stubs alone
    """Puts `wrap` around each unary method once and keeps the result: interception runs on every call."""

    def __init__(self) -> None:
        self._wrapped: dict[str, Handler] = {}

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler:
        path = handler_call_details.method
        known = self._wrapped.get(path)
        if known is not None:
            return known
        handler = await continuation(handler_call_details)
        # None is an unknown method (UNIMPLEMENTED); not kept, or any caller could fill the table.
        if handler is None or handler.unary_unary is None:
            return handler
        service, _, method = path.lstrip("/").partition("/")
        self._wrapped[path] = grpc.unary_unary_rpc_method_handler(
            self.wrap(service, method, cast(Behaviour, handler.unary_unary)),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )
        return self._wrapped[path]

    def wrap(self, service: str, method: str, call: Behaviour) -> Behaviour:
        raise NotImplementedError


class MetricsInterceptor(UnaryInterceptor):
    """Counts and times; must come first, so that it also sees what the others abort."""

    def __init__(self, metrics: ServerMetrics) -> None:
        super().__init__()
        self._metrics = metrics

    def wrap(self, service: str, method: str, call: Behaviour) -> Behaviour:
        observe = self._metrics.observer(service, method)

        async def counted(request: Any, context: Context) -> Any:
            start = time.perf_counter()
            code = "UNKNOWN"
            try:
                reply = await call(request, context)
                code = _code_name(context, "OK")
                return reply
            except asyncio.CancelledError:
                code = "CANCELLED"
                raise
            except BaseException:
                code = _code_name(context, "UNKNOWN")
                raise
            finally:
                observe(code, time.perf_counter() - start)

        return counted


class FaultInterceptor(UnaryInterceptor):
    """Plays the fault in force on the app's methods. Health and reflection stay true."""

    def __init__(self, switch: FaultSwitch) -> None:
        super().__init__()
        self._switch = switch

    def wrap(self, service: str, method: str, call: Behaviour) -> Behaviour:
        if service.startswith(SPARED):
            return call

        async def faulty(request: Any, context: Context) -> Any:
            delay_s, code = self._switch.draw()
            if delay_s:
                await asyncio.sleep(delay_s)
            if code is not None:
                await context.abort(code, "fault injected through the admin port")
            return await call(request, context)

        return faulty


def _code_name(context: Context, unset: str) -> str:
    code = context.code()
    # grpc.aio gives an int, a StatusCode or nothing, by the way the code was set.
    if not code and not isinstance(code, grpc.StatusCode):
        return unset
    if isinstance(code, grpc.StatusCode):
        return code.name
    return next((c.name for c in grpc.StatusCode if c.value[0] == code), "UNKNOWN")
