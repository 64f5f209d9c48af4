"""Cluster IPs: each TCP connection to a Service goes to one of its ready pods, chosen at random, for as long
as it lasts.

That is what kube-proxy does (statistic mode random,
https://kubernetes.io/docs/reference/networking/virtual-ips/), and all it does: whoever sends many requests
over one connection sends them all to one pod. Endpoints are those of the EndpointSlices. Without any, nobody
listens, so a client is refused at once. A connection outlives its pod's readiness and the Service's changes;
it ends with the pod's process. Must not know: pods, HTTP, gRPC.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from typing import Any

from lab.clusters.local.api.errors import NotFound
from lab.clusters.local.api.store import Store
from lab.clusters.local.controllers.endpointslice import SERVICE_LABEL
from lab.clusters.local.controllers.events import Recorder
from lab.clusters.local.controllers.queue import Key, changes, key_of
from lab.clusters.local.relay import Accepted, Address

log = logging.getLogger("balance-lab.services")

BACKLOG = 512

Object = dict[str, Any]


class ServiceProxies:
    """All listeners of the cluster."""

    def __init__(self, store: Store, events: Recorder, seed: int | None = None) -> None:
        self._store = store
        self._events = events
        self._random = random.Random(seed)
        self._ports: dict[Key, dict[Address, ServicePort]] = {}
        self._queue: dict[Key, None] = {}
        self._woken = asyncio.Event()

    async def run(self) -> None:
        """Follow Services and EndpointSlices until cancelled; then every listener is closed."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._watch("services"))
                group.create_task(self._watch("endpointslices"))
                group.create_task(self._work())
        finally:
            for ports in self._ports.values():
                for port in ports.values():
                    port.close()

    async def _watch(self, plural: str) -> None:
        async for event in changes(self._store, plural):
            key = key_of(event.object)
            if plural == "endpointslices":
                key = key[0], (event.object["metadata"].get("labels") or {}).get(SERVICE_LABEL, "")
            self._queue[key] = None
            self._woken.set()

    async def _work(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            while self._queue:
                key = next(iter(self._queue))
                del self._queue[key]
                await self._reconcile(key)

    async def _reconcile(self, key: Key) -> None:
        wanted = self._wanted(key)
        held = self._ports.setdefault(key, {})
        for address in [a for a in held if a not in wanted]:
            held.pop(address).close()
        for address, endpoints in wanted.items():
            port = held.setdefault(address, ServicePort(address, self._random))
            try:
                await port.serve(endpoints)
            except OSError as e:
                log.warning("service %s/%s: cannot listen on %s:%d: %s", *key, *address, e)
                self._tell(key, f"cannot listen on {address[0]}:{address[1]}: {e.strerror or e}")
        if not held:
            del self._ports[key]

    def _wanted(self, key: Key) -> dict[Address, list[Address]]:
        """The Service's addresses and whom each leads to; empty when it is gone or headless."""
        try:
            service = self._store.get("services", *key)
        except NotFound:
            return {}
        cluster_ip = service["spec"].get("clusterIP")
        if not cluster_ip or cluster_ip == "None":
            return {}
        slices = [
            s
            for s in self._store.list("endpointslices", key[0])[0]
            if (s["metadata"].get("labels") or {}).get(SERVICE_LABEL) == key[1]
        ]
        return {
            (cluster_ip, port["port"]): endpoints_of(slices, port.get("name", ""))
            for port in service["spec"].get("ports") or ()
            if port.get("protocol", "TCP") == "TCP"
        }

    def _tell(self, key: Key, message: str) -> None:
        try:
            self._events.warning(self._store.get("services", *key), "FailedToListen", message)
        except NotFound:
            pass


class ServicePort:
    """One port of one cluster IP."""

    def __init__(self, address: Address, chooser: random.Random) -> None:
        self._address = address
        self._random = chooser
        self._endpoints: Sequence[Address] = ()
        self._server: asyncio.Server | None = None
        self._open: set[Accepted] = set()

    async def serve(self, endpoints: Sequence[Address]) -> None:
        """Hand new connections to these endpoints; listen only while there are any. Raises OSError."""
        self._endpoints = endpoints
        if not endpoints:
            self.close()
        elif self._server is None:
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(
                lambda: Accepted(self._choose, self._open), *self._address, backlog=BACKLOG
            )

    def close(self) -> None:
        """Accept nobody any more; connections that are open stay."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def _choose(self) -> Address | None:
        return self._random.choice(self._endpoints) if self._endpoints else None


def endpoints_of(slices: Sequence[Object], port_name: str) -> list[Address]:
    """Where connections to this port may go: ready endpoints, else those that still serve while they
    terminate.

    https://kubernetes.io/docs/reference/networking/virtual-ips/#traffic-to-terminating-endpoints
    """
    ready: set[Address] = set()
    leaving: set[Address] = set()
    for one in slices:
        numbers = [p["port"] for p in one.get("ports") or () if p.get("name", "") == port_name]
        for endpoint in one.get("endpoints") or ():
            conditions = endpoint.get("conditions") or {}
            addresses = {(address, number) for address in endpoint["addresses"] for number in numbers}
            if conditions.get("ready", True):
                ready |= addresses
            elif conditions.get("serving") and conditions.get("terminating"):
                leaving |= addresses
    return sorted(ready or leaving)
