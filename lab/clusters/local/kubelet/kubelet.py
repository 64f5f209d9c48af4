"""Which pods run on this node: a worker for each, from the first sight of the pod to its removal.

Also the node's answers to the API server (`NodeBackend`): logs, resource metrics, pod addresses.
Must not know: how a container runs, controllers, HTTP.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

from lab.clusters.local.addresses import pod_numbers
from lab.clusters.local.api.errors import ApiError, BadRequest, NotFound
from lab.clusters.local.controllers.queue import changes
from lab.clusters.local.kubelet.container import Container
from lab.clusters.local.kubelet.metrics import Subject, render
from lab.clusters.local.kubelet.pod import PodWorker
from lab.clusters.local.kubelet.runtime import NODE_NAME, Runtime

log = logging.getLogger("balance-lab.kubelet")


class Kubelet:
    """The node's agent. Implements lab.clusters.local.api.backend.NodeBackend."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._numbers = pod_numbers()
        self._workers: dict[str, PodWorker] = {}  # by the pod's uid
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._waiting: dict[str, dict[str, Any]] = {}  # pods for which no address is free, by uid
        self._stopped = False

    async def run(self) -> None:
        """Follow the pods until cancelled."""
        async for event in changes(self._runtime.store, "pods"):
            pod = event.object
            if pod["spec"].get("nodeName") != NODE_NAME:
                continue
            if event.type == "DELETED":
                self._gone(pod)
            elif pod["metadata"].get("deletionTimestamp"):
                self._delete(pod)
            else:
                self._admit(pod)

    async def shut_down(self, longest_grace_s: float) -> None:
        """Delete every pod, each with its own grace but none with more than this; returns when all have
        ended.

        `run` must still be running: it is what sees the deletions.
        """
        self._stopped = True
        for worker in self._workers.values():
            grace = int(min(worker.grace_seconds, longest_grace_s))
            try:
                self._runtime.store.delete("pods", worker.namespace, worker.name, grace_seconds=grace)
            except ApiError:
                worker.terminate(0)
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    # NodeBackend

    async def logs(
        self,
        namespace: str,
        pod: str,
        container: str,
        *,
        follow: bool,
        tail: int | None,
        previous: bool,
        since_seconds: int | None,
        timestamps: bool,
    ) -> AsyncIterator[bytes]:
        found = self._container(namespace, pod, container)
        run = found.logs.previous if previous else found.logs.current
        if run is None:
            if previous:
                raise BadRequest(f'previous terminated container "{container}" in pod "{pod}" not found')
            reason = next(iter(found.state.now.as_json().values())).get("reason", "not started")
            raise BadRequest(f'container "{container}" in pod "{pod}" is waiting to start: {reason}')
        async for piece in run.read(follow=follow, tail=tail, since_seconds=since_seconds, timestamps=timestamps):
            yield piece

    def resource_metrics(self) -> str:
        return render(
            Subject(
                namespace=worker.namespace,
                pod=worker.name,
                container=container.state.name,
                session=container.child.pid if container.child and container.child.running else None,
                cpu_seconds_before=container.cpu_seconds_before,
            )
            for worker in self._workers.values()
            for container in worker.containers
        )

    def pod_address(self, namespace: str, pod: str) -> str | None:
        worker = self._worker(namespace, pod)
        return worker.address if worker else None

    # Helpers

    def _admit(self, pod: dict[str, Any]) -> None:
        uid = pod["metadata"]["uid"]
        over = pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
        if uid in self._workers or over or self._stopped:
            return
        try:
            number = self._numbers.take()
        except ValueError as e:
            self._waiting[uid] = pod
            self._runtime.events.warning(pod, "FailedCreatePodSandBox", f"no address for the pod: {e}")
            return
        worker = self._workers[uid] = PodWorker(self._runtime, pod, number)
        task = self._tasks[uid] = asyncio.create_task(worker.run(), name=worker.label)
        task.add_done_callback(lambda ended: self._ended(worker, ended))

    def _ended(self, worker: PodWorker, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            log.error("the worker of pod %s failed", worker.label, exc_info=error)
        del self._workers[worker.uid], self._tasks[worker.uid]
        self._numbers.give_back(worker.number)
        if self._waiting:
            uid = next(iter(self._waiting))
            self._admit(self._waiting.pop(uid))

    def _delete(self, pod: dict[str, Any]) -> None:
        meta = pod["metadata"]
        worker = self._workers.get(meta["uid"])
        if worker is not None:
            worker.terminate(meta.get("deletionGracePeriodSeconds") or 0)
        else:
            self._waiting.pop(meta["uid"], None)
            self._runtime.store.remove("pods", meta["namespace"], meta["name"], meta["uid"])

    def _gone(self, pod: dict[str, Any]) -> None:
        """The pod is no longer in the store (a forced delete): its processes must not outlive it."""
        self._waiting.pop(pod["metadata"]["uid"], None)
        worker = self._workers.get(pod["metadata"]["uid"])
        if worker is not None:
            worker.terminate(0)

    def _worker(self, namespace: str, pod: str) -> PodWorker | None:
        for worker in reversed(self._workers.values()):  # of two with one name the newer
            if (worker.namespace, worker.name) == (namespace, pod):
                return worker
        return None

    def _container(self, namespace: str, pod: str, container: str) -> Container:
        worker = self._worker(namespace, pod)
        for found in worker.containers if worker else ():
            if found.state.name == container:
                return found
        raise NotFound(f'container "{container}" of pod "{namespace}/{pod}" not found', plural="pods", name=pod)
