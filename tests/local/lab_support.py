"""What the tests of the local cluster share: a small API client, and programs to run as pods."""

from __future__ import annotations

import json
import secrets
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from lab.clusters.local.provider import LocalCluster
from tests.support import wait_until

Object = dict[str, Any]

IMAGE = "balance-lab/demo-app:dev"
KUBECTL = Path(sys.executable).with_name("kubectl")

POD_ENV = [
    {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
    {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
]

# An HTTP server on POD_IP:8080. /who: the pod's name, /env: its environment,
# /ready: 200, or what PUT /ready/CODE said.
SERVER = """
import http.server, json, os, signal, sys
signal.signal(signal.SIGTERM, lambda *a: sys.exit(0))
ready = [int(os.environ.get("READY", "200"))]
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    def do_GET(self):
        if self.path == "/ready":
            return self.answer(ready[0], "ready")
        self.answer(200, json.dumps(dict(os.environ)) if self.path == "/env" else os.environ["POD_NAME"])
    def do_PUT(self):
        ready[0] = int(self.path.rpartition("/")[2])
        self.answer(200, "ok")
    def answer(self, code, text):
        self.send_response(code)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())
        self.wfile.flush()
    def log_message(self, *args): pass
print("listening", flush=True)
http.server.ThreadingHTTPServer((os.environ["POD_IP"], 8080), Handler).serve_forever()
"""


def python(program: str, name: str = "app", **more: Any) -> Object:
    """A container that runs a Python program."""
    return {"name": name, "image": IMAGE, "command": ["python", "-S", "-c", program], "env": POD_ENV, **more}


def server(**more: Any) -> Object:
    """A container that runs SERVER and is ready when /ready says so."""
    probe = {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 1, "failureThreshold": 1}
    ports = [{"name": "http", "containerPort": 8080}]
    return python(SERVER, ports=ports, readinessProbe=probe, **more)


def pod(name: str, *containers: Object, **spec: Any) -> Object:
    labels = {"app": name}
    return {"metadata": {"name": name, "labels": labels}, "spec": {"containers": list(containers), **spec}}


def deployment(name: str, replicas: int, container: Object, **spec: Any) -> Object:
    labels = {"app": name}
    return {
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            **spec,
        },
    }


def service(name: str, **spec: Any) -> Object:
    ports = [{"name": "http", "port": 8080, "targetPort": "http"}]
    return {"metadata": {"name": name}, "spec": {"selector": {"app": name}, "ports": ports, **spec}}


class Lab:
    """A running local cluster, seen through its kubeconfig only."""

    def __init__(self, cluster: LocalCluster, namespace: str = "default") -> None:
        self.cluster = cluster
        self.namespace = namespace
        config = json.loads(cluster.kubeconfig_path.read_text())
        self.server: str = config["clusters"][0]["cluster"]["server"]
        token = config["users"][0]["user"]["token"]
        trust = ssl.create_default_context(cafile=str(cluster.state_path / "tls" / "ca.crt"))
        self.http = httpx.Client(
            base_url=self.server, verify=trust, trust_env=False, headers={"Authorization": f"Bearer {token}"}
        )

    @contextmanager
    def in_new_namespace(self) -> Iterator[Lab]:
        name = f"t-{secrets.token_hex(3)}"
        self.http.post("/api/v1/namespaces", json={"metadata": {"name": name}}).raise_for_status()
        try:
            yield Lab(self.cluster, name)
        finally:
            for one in self.list("pods", name):  # nobody looks at how they end
                self.http.delete(
                    f"/api/v1/namespaces/{name}/pods/{one['metadata']['name']}",
                    params={"gracePeriodSeconds": 0},
                )
            self.http.delete(f"/api/v1/namespaces/{name}")

    def path(self, plural: str, name: str = "", namespace: str = "") -> str:
        group = {"deployments": "apis/apps/v1", "replicasets": "apis/apps/v1"}.get(plural, "api/v1")
        if plural == "endpointslices":
            group = "apis/discovery.k8s.io/v1"
        return f"/{group}/namespaces/{namespace or self.namespace}/{plural}" + (f"/{name}" if name else "")

    def create(self, plural: str, obj: Object) -> Object:
        answer = self.http.post(self.path(plural), json=obj)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def get(self, plural: str, name: str) -> Object:
        """Raises httpx.HTTPStatusError, also when it does not exist."""
        return dict(self.http.get(self.path(plural, name)).raise_for_status().json())

    def list(self, plural: str, namespace: str = "") -> list[Object]:
        return list(self.http.get(self.path(plural, namespace=namespace)).raise_for_status().json()["items"])

    def patch(self, plural: str, name: str, change: Object) -> Object:
        headers = {"Content-Type": "application/merge-patch+json"}
        answer = self.http.patch(self.path(plural, name), content=json.dumps(change), headers=headers)
        return dict(answer.raise_for_status().json())

    def delete(self, plural: str, name: str, **params: Any) -> None:
        self.http.delete(self.path(plural, name), params=params).raise_for_status()

    def exists(self, plural: str, name: str) -> bool:
        return self.http.get(self.path(plural, name)).status_code == 200

    def log(self, pod_name: str, **params: Any) -> str:
        return self.http.get(self.path("pods", pod_name) + "/log", params=params).raise_for_status().text

    def container(self, pod_name: str, name: str = "app") -> Object:
        """The status of one container."""
        status = self.get("pods", pod_name)["status"]
        both = status.get("containerStatuses", []) + status.get("initContainerStatuses", [])
        return next(dict(c) for c in both if c["name"] == name)

    def events(self, name: str) -> set[str]:
        """The reasons of the events about one object."""
        return {e["reason"] for e in self.list("events") if e["involvedObject"]["name"] == name}

    def kubectl(self, *args: str) -> str:
        command = [
            str(KUBECTL),
            "--kubeconfig",
            str(self.cluster.kubeconfig_path),
            "-n",
            self.namespace,
            *args,
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, f"kubectl {' '.join(args)}: {done.stderr or done.stdout}"
        return done.stdout

    def until_ready(self, name: str, deadline_s: float = 10) -> Object:
        """The pod, once it is ready."""
        wait_until(lambda: ready(self.get("pods", name)), deadline_s, f"pod {name} is ready")
        return self.get("pods", name)

    def until_over(self, name: str, deadline_s: float = 10) -> Object:
        over = ("Succeeded", "Failed")
        wait_until(lambda: self.get("pods", name)["status"]["phase"] in over, deadline_s, f"pod {name} is over")
        return self.get("pods", name)

    def until_available(self, name: str, replicas: int, deadline_s: float = 15) -> None:
        """The deployment consists of `replicas` available pods of its newest template and nothing else."""

        def settled() -> bool:
            found = self.get("deployments", name)
            status = found["status"]
            counts = [status.get(f"{kind}Replicas", 0) for kind in ("updated", "available")]
            current = status.get("observedGeneration") == found["metadata"]["generation"]
            return current and status.get("replicas", 0) == replicas and counts == [replicas, replicas]

        wait_until(settled, deadline_s, f"deployment {name} has {replicas} available pods")

    def addresses(self, service_name: str, condition: str = "ready") -> set[str]:
        """The Service's endpoints with this condition."""
        return {
            endpoint["addresses"][0]
            for one in self.list("endpointslices")
            if one["metadata"]["labels"]["kubernetes.io/service-name"] == service_name
            for endpoint in one.get("endpoints") or ()
            if endpoint["conditions"][condition]
        }


def ready(found: Object) -> bool:
    conditions = {c["type"]: c["status"] for c in found["status"].get("conditions", [])}
    return conditions.get("Ready") == "True"


def who(address: str, client: httpx.Client | None = None) -> str:
    """The name of the pod that answers; on a new connection unless a client is given."""
    if client is not None:
        return client.get(f"http://{address}:8080/who").raise_for_status().text
    with httpx.Client(trust_env=False, timeout=5) as fresh:
        return who(address, fresh)
