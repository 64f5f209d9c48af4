"""The one process of a local cluster: API server, controllers, kubelet, Services and DNS on one event loop.

    python -m lab.clusters.local.daemon --state DIR

Started by `provider.py`, which made DIR. SIGTERM ends it in order: pods first (with grace), then the
listeners. Writes daemon.json once the API answers. Exit codes: 0 asked to stop, 3 could not start or a part
failed.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.clusters.local.addresses import API_PORT, DNS_PORT, ClusterIPs, Network, numbers_to_try
from lab.clusters.local.api.app import build_app
from lab.clusters.local.api.serve import RunningServer, ServeError, serve
from lab.clusters.local.api.store import Store
from lab.clusters.local.certs import issue, kubeconfig, write_private
from lab.clusters.local.controllers.deployment import Deployments
from lab.clusters.local.controllers.endpointslice import EndpointSlices
from lab.clusters.local.controllers.events import Recorder
from lab.clusters.local.controllers.gc import GarbageCollector
from lab.clusters.local.controllers.replicaset import ReplicaSets
from lab.clusters.local.controllers.scheduler import Scheduler
from lab.clusters.local.dns import DnsServer
from lab.clusters.local.images import Images
from lab.clusters.local.kubelet import node
from lab.clusters.local.kubelet.kubelet import Kubelet
from lab.clusters.local.kubelet.runtime import NODE_NAME, Runtime
from lab.clusters.local.process import Records, start_ticks
from lab.clusters.local.services import ServiceProxies
from lab.clusters.local.state import DaemonInfo, StateDir
from lab.clusters.local.tokens import ADMIN, Tokens

log = logging.getLogger("balance-lab")

LONGEST_GRACE_S = 10.0
"""Pods get at most this long to end when the whole cluster goes down."""


@dataclass
class Daemon:
    """The parts, made but not yet at work."""

    store: Store
    network: Network
    kubelet: Kubelet
    api: RunningServer

    async def run(self, stop: asyncio.Event) -> int:
        """Work until asked to stop or a part fails; then end everything in order. Returns the exit code."""
        events = Recorder(self.store, "controllers")
        makers = self._start(Deployments(self.store, events).run(), ReplicaSets(self.store, events).run(),
                             GarbageCollector(self.store).run())  # fmt: skip
        others = self._start(
            Scheduler(self.store, Recorder(self.store, "scheduler"), NODE_NAME).run(),
            EndpointSlices(self.store).run(),
            ServiceProxies(self.store, events).run(),
            self.kubelet.run(),
        )
        asked = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait({asked, *makers, *others}, return_when=asyncio.FIRST_COMPLETED)
        failed = done - {asked}
        for task in failed:
            log.critical("a part of the cluster failed", exc_info=task.exception())
        await _cancel(makers)  # or they would make the pods anew
        try:
            async with asyncio.timeout(LONGEST_GRACE_S + 3):
                await self.kubelet.shut_down(LONGEST_GRACE_S)
        except TimeoutError:
            log.error("some pods did not end")
        await _cancel(others)
        await self.api.stop()
        return 3 if failed else 0

    def _start(self, *parts: Coroutine[Any, Any, None]) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(part) for part in parts]


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def start(state: StateDir, instance: str) -> Daemon:
    """Take the first free number X and serve the API there. Raises ServeError when none is free."""
    last: ServeError | None = None
    for x in numbers_to_try(os.getuid(), state.name):
        if _is_taken(Network(x)):  # asked first, because making certificates for each X would take seconds
            continue
        try:
            return await _start_at(state, instance, Network(x))
        except ServeError as e:
            last = e
    raise ServeError(f"no address 127.X.0.1:{API_PORT} is free; does something listen on *:{API_PORT}? last: {last}")


def _is_taken(network: Network) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((network.api, API_PORT))
        except OSError:
            return True
    return False


async def _start_at(state: StateDir, instance: str, network: Network) -> Daemon:
    addresses = ClusterIPs(network)
    store = Store(allocate_cluster_ip=addresses.allocate, release_cluster_ip=addresses.release)
    node.register(store, network)
    tls = issue(state.tls, network.api)
    tokens = Tokens()
    runtime = Runtime(
        store=store,
        events=Recorder(store, "kubelet"),
        network=network,
        images=Images(),
        tokens=tokens,
        records=Records(state.processes),
        state=state,
        instance=instance,
        ca_pem=tls.ca_pem(),
        dns=f"{network.api}:{DNS_PORT}",
    )
    kubelet = Kubelet(runtime)
    app = build_app(store, kubelet, tokens.user, issue_token=tokens.issue_for_service_account)
    api = await serve(app, network.api, API_PORT, tls)
    await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: DnsServer(store), local_addr=(network.api, DNS_PORT)
    )
    admin = kubeconfig(
        server=network.api_url,
        ca_pem=tls.ca_pem(),
        token=tokens.issue(ADMIN),
        context=state.context,
        user=state.context,
    )
    write_private(state.kubeconfig, admin)
    return Daemon(store, network, kubelet, api)


async def run(state: StateDir) -> int:
    """Start, say so in daemon.json, work, stop."""
    instance = state.instance()
    if instance is None:
        raise FileNotFoundError(f"{state.path} has no instance mark; it is made by `lab up`")
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    Records(state.processes).add(os.getpid(), "the cluster's daemon")
    daemon = await start(state, instance)
    info = DaemonInfo(os.getpid(), start_ticks(os.getpid()) or 0, daemon.network.x, daemon.network.api_url)
    state.write_daemon(info)
    log.info("serving %s", info.server)
    return await daemon.run(stop)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, required=True, help="the lab's state folder")
    state = StateDir(parser.parse_args().state)
    os.umask(0o077)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        code = asyncio.run(run(state))
    except (ServeError, OSError) as e:
        log.critical("%s", e)
        code = 3
    sys.exit(code)


if __name__ == "__main__":
    main()
