"""Open-loop load: requests start when they are due, whatever became of those before. Knows no options.

Open loop, because a closed one slows down with the server and so hides what users would feel (Schroeder et
al., "Open Versus Closed: A Cautionary Tale", NSDI 2006). In-flight requests are bounded; one that is due
beyond the bound is dropped and counted.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence

import grpc

from demo_app.bot.record import Record
from demo_app.candidates import CANDIDATES
from demo_app.proto import voting_pb2

SERVICE = voting_pb2.DESCRIPTOR.services_by_name["Voting"].full_name
ROUTES = tuple(f"/{SERVICE}/{c.rpc}" for c in CANDIDATES)
# Tastes differ as in life (Zipf): the first candidate is asked for most, the tenth a tenth as often.
WEIGHTS = tuple(1 / rank for rank in range(1, len(ROUTES) + 1))


class Load:
    """`rate` requests a second over the channels in turn, until stop() or a limit."""

    def __init__(
        self,
        channels: Sequence[grpc.aio.Channel],
        record: Record,
        *,
        rate: float,
        max_in_flight: int,
        timeout_s: float,
    ) -> None:
        self._record = record
        self._rate = rate
        self._max_in_flight = max_in_flight
        self._timeout_s = timeout_s
        self._in_flight: set[asyncio.Task[None]] = set()
        self._calls = [{route: _method(channel, route) for route in ROUTES} for channel in channels]
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Start no more requests; run() then waits for those in flight."""
        self._stopping.set()

    async def run(self, requests: int | None = None, duration_s: float | None = None) -> None:
        """Send until `requests` are sent, `duration_s` is over, or stop(); return when none is in flight."""
        start = time.perf_counter()
        sent = due = 0
        while not self._stopping.is_set() and (requests is None or sent < requests):
            elapsed = time.perf_counter() - start
            if duration_s is not None and elapsed >= duration_s:
                break
            while due < elapsed * self._rate and (requests is None or sent < requests):
                sent += self._send(due)
                due += 1
            pause = due / self._rate - (time.perf_counter() - start)
            # Slow rates must still see the end of the duration and a stop.
            await asyncio.sleep(min(max(pause, 0.0), 0.1))
        if self._in_flight:
            await asyncio.wait(self._in_flight)

    def _send(self, number: int) -> int:
        """Start one request; gives how many were started (0: dropped)."""
        if len(self._in_flight) >= self._max_in_flight:
            self._record.drop()
            return 0
        route = random.choices(ROUTES, WEIGHTS)[0]
        task = asyncio.create_task(self._vote(number % len(self._calls), route))
        self._in_flight.add(task)
        task.add_done_callback(self._in_flight.discard)
        return 1

    async def _vote(self, channel: int, route: str) -> None:
        start = time.perf_counter()
        code, pod = "OK", ""
        try:
            reply = await self._calls[channel][route](REQUEST, timeout=self._timeout_s)
            pod = reply.served_by
        except grpc.aio.AioRpcError as e:
            code = e.code().name
        except asyncio.CancelledError:  # the channel was closed under the call: a quick end
            code = "CANCELLED"
        self._record.ended(route, code, pod, time.perf_counter() - start)


REQUEST = voting_pb2.VoteRequest()


def _method(
    channel: grpc.aio.Channel, route: str
) -> grpc.aio.UnaryUnaryMultiCallable[voting_pb2.VoteRequest, voting_pb2.VoteReply]:
    return channel.unary_unary(
        route,
        request_serializer=voting_pb2.VoteRequest.SerializeToString,
        response_deserializer=voting_pb2.VoteReply.FromString,
    )
