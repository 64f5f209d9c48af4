"""One pod on the node: its address and folder, the order in which its containers start and stop, its status.

Order: init containers one after the other (sidecars among them only until they have started), then the
containers, each once the one before it has started and its postStart hook is through; at the end the
containers together, then the sidecars, last started first.
https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/ Must not know: which pods there are besides,
controllers, HTTP.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.clusters.local.api.errors import ApiError, NotFound
from lab.clusters.local.api.objects import timestamp
from lab.clusters.local.certs import kubeconfig, write_private
from lab.clusters.local.images import SYSTEM_PATH, ImageNotPresent
from lab.clusters.local.kubelet.child import Deadline
from lab.clusters.local.kubelet.container import Container, Launch
from lab.clusters.local.kubelet.env import Sources, environment, expand, is_meshed, stand_in_variables
from lab.clusters.local.kubelet.runtime import CannotStart, Runtime
from lab.clusters.local.kubelet.status import ContainerState, PodFacts, pod_status
from lab.clusters.local.kubelet.volumes import temporary_folder
from lab.clusters.local.process import MARK


class PodWorker:
    """Runs one pod until `terminate` and then removes it from the store. number: the p of its address."""

    def __init__(self, runtime: Runtime, pod: dict[str, Any], number: int) -> None:
        self._runtime = runtime
        self._pod = pod
        self.number = number
        self.uid: str = pod["metadata"]["uid"]
        self.namespace: str = pod["metadata"]["namespace"]
        self.name: str = pod["metadata"]["name"]
        self.label = f"{self.namespace}/{self.name}"
        self.grace_seconds = float(pod["spec"].get("terminationGracePeriodSeconds", 30))
        self._folder: Path = runtime.state.pods / self.uid
        self._logs: Path = runtime.state.logs / self.uid
        self._token = ""
        self._deadline: Deadline | None = None
        self._ending = asyncio.Event()
        self._supervisors: set[asyncio.Task[None]] = set()
        self._publishing = False
        self._started_at = timestamp()
        self._over = False
        self.inits = [self._container(c, init=True) for c in pod["spec"].get("initContainers") or ()]
        self.mains = [self._container(c, init=False) for c in pod["spec"]["containers"]]

    @property
    def address(self) -> str:
        return self._runtime.network.pod_ip(self.number)

    @property
    def containers(self) -> list[Container]:
        return [*self.inits, *self.mains]

    async def run(self) -> None:
        """The pod's whole life on this node."""
        self._prepare()
        life = asyncio.create_task(self._live())
        await self._ending.wait()
        life.cancel()
        await asyncio.gather(life, return_exceptions=True)
        assert self._deadline is not None
        await self._stop(self._deadline)
        self._publish()
        self._clear()
        self._runtime.store.remove("pods", self.namespace, self.name, self.uid)

    def terminate(self, grace_seconds: float) -> None:
        """End the pod within this time; a second call can only shorten it. 0: kill at once."""
        if self._deadline is None:
            self._deadline = Deadline(grace_seconds)
            self._ending.set()
        else:
            self._deadline.shorten(grace_seconds)

    # What containers need of it

    def launch(self, container: Mapping[str, Any]) -> Launch:
        pod, spec = self._current(), dict(container)
        try:
            image = self._runtime.images.find(spec["image"])
        except ImageNotPresent as e:
            raise CannotStart("ErrImageNeverPull", str(e)) from e
        temporary = temporary_folder(pod, spec, self._folder)
        base = {
            "PATH": SYSTEM_PATH,
            "HOME": str(self._folder),
            "LANG": "C.UTF-8",
            "HOSTNAME": self.name,
            "TMPDIR": str(temporary),
            "BALANCE_LAB_DNS": self._runtime.dns,
        }
        if self._token:
            base["KUBECONFIG"] = str(self._folder / "kubeconfig")
        sources = self._sources(pod)
        fixed = {MARK: self._runtime.instance}
        if is_meshed(pod):
            fixed |= stand_in_variables(spec["name"], sources)
        env = environment(spec, sources, image.env, base, fixed)
        argv = image.argv(
            [expand(part, env) for part in spec.get("command") or ()],
            [expand(part, env) for part in spec.get("args") or ()],
        )
        return Launch(argv, env, self._working_folder(spec), image.translate)

    def changed(self) -> None:
        """Publish the status soon; several changes at once make one write."""
        if not self._publishing:
            self._publishing = True
            asyncio.get_running_loop().call_soon(self._publish)

    def note(self, kind: str, reason: str, message: str) -> None:
        write = self._runtime.events.warning if kind == "Warning" else self._runtime.events.normal
        write(self._pod, reason, message)

    def record(self, pid: int, container: str) -> None:
        self._runtime.records.add(pid, f"{self.label}/{container}")

    def forget(self, pid: int) -> None:
        self._runtime.records.discard(pid)

    # Its life

    def _prepare(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        spec = self._pod["spec"]
        if self._mounts_token(spec):
            account = spec.get("serviceAccountName") or "default"
            self._token = self._runtime.tokens.issue_for_service_account(self.namespace, account)
            config = kubeconfig(
                server=self._runtime.network.api_url,
                ca_pem=self._runtime.ca_pem,
                token=self._token,
                context="pod",
                user=account,
                namespace=self.namespace,
            )
            write_private(self._folder / "kubeconfig", config)
        self._publish()

    def _mounts_token(self, spec: dict[str, Any]) -> bool:
        if "automountServiceAccountToken" in spec:
            return bool(spec["automountServiceAccountToken"])
        try:
            account = self._runtime.store.get(
                "serviceaccounts", self.namespace, spec.get("serviceAccountName") or "default"
            )
        except NotFound:
            return True
        return account.get("automountServiceAccountToken") is not False

    async def _live(self) -> None:
        for container in self.inits:
            self._supervise(container)
            if container.state.role == "sidecar":
                await container.started.wait()
                continue
            await container.finished.wait()
            if not container.state.succeeded:
                await self._complete()
                return
        for container in self.mains:
            self._supervise(container)
            await container.settled.wait()
        for container in self.mains:
            await container.finished.wait()
        await self._complete()

    async def _complete(self) -> None:
        """No container will run again: end the sidecars and say so; the pod stays until it is deleted."""
        await self._stop_sidecars(Deadline(self.grace_seconds))
        self._over = True
        self.changed()

    def _supervise(self, container: Container) -> None:
        task = asyncio.create_task(container.supervise(), name=f"{self.label}/{container.state.name}")
        self._supervisors.add(task)
        task.add_done_callback(self._supervisors.discard)

    async def _stop(self, deadline: Deadline) -> None:
        others = [c for c in self.containers if c.state.role != "sidecar"]
        await asyncio.gather(*(c.stop(deadline) for c in others))
        await self._stop_sidecars(deadline)

    async def _stop_sidecars(self, deadline: Deadline) -> None:
        for container in reversed(self.inits):
            if container.state.role == "sidecar":
                await container.stop(deadline)

    def _clear(self) -> None:
        self._runtime.tokens.revoke(self._token)
        shutil.rmtree(self._folder, ignore_errors=True)
        shutil.rmtree(self._logs, ignore_errors=True)

    # Helpers

    def _container(self, spec: dict[str, Any], *, init: bool) -> Container:
        policy = self._pod["spec"].get("restartPolicy", "Always")
        sidecar = init and spec.get("restartPolicy") == "Always"
        state = ContainerState(spec["name"], spec["image"], "sidecar" if sidecar else "init" if init else "main")
        if sidecar:
            policy = "Always"
        elif init:
            policy = "Never" if policy == "Never" else "OnFailure"
        return Container(self, spec, state, policy, self._logs / spec["name"])

    def _current(self) -> dict[str, Any]:
        """The pod as it is stored now (its labels may have changed), or as it was last seen."""
        try:
            pod = self._runtime.store.get("pods", self.namespace, self.name)
        except NotFound:
            return self._pod
        return pod if pod["metadata"]["uid"] == self.uid else self._pod

    def _sources(self, pod: dict[str, Any]) -> Sources:
        return Sources(
            pod=pod,
            number=self.number,
            network=self._runtime.network,
            services=self._runtime.store.list("services", self.namespace)[0],
            config_map=lambda name: self._find("configmaps", name),
            secret=lambda name: self._find("secrets", name),
        )

    def _find(self, plural: str, name: str) -> dict[str, Any] | None:
        try:
            return self._runtime.store.get(plural, self.namespace, name)
        except NotFound:
            return None

    def _working_folder(self, container: dict[str, Any]) -> Path:
        if not container.get("workingDir"):
            return self._folder
        wanted = Path(container["workingDir"])
        if not wanted.is_dir():
            raise CannotStart(
                "CreateContainerConfigError",
                f"workingDir {wanted} is no folder of this machine; leave it out on local",
            )
        return wanted

    def _publish(self) -> None:
        self._publishing = False
        status = self._pod.get("status") or {}
        facts = PodFacts(
            address=self.address,
            host_address=self._runtime.network.api,
            start_time=self._started_at,
            qos_class=status.get("qosClass", "BestEffort"),
            over=self._over,
        )
        new = pod_status(facts, [c.state for c in self.containers], status.get("conditions") or (), timestamp())
        if new == status:
            return
        self._pod["status"] = new
        try:
            if self._runtime.store.get("pods", self.namespace, self.name)["metadata"]["uid"] == self.uid:
                self._runtime.store.mutate(
                    "pods",
                    self.namespace,
                    self.name,
                    lambda pod: pod.update(status=new),
                    subresource="status",
                )
        except ApiError:
            pass  # gone, or going; there is nobody to tell
