"""A pod and a world as network namespaces with a veth pair between them, and programs inside. Needs root and ip(8).

The pod's addresses are 10.77.0.2 and fd77::2; the world has those of servers, and the fake API server. Cluster IPs are
routed to the world, where nobody has them: only a connection that the proxy has balanced gets through. The proxy takes
turns: whom a request reaches is asked here, not how a busy machine's latencies compare.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.proxy.harness import proxy_binary
from tests.support import wait_until

UID = 65532
PORT = 4140
ADMIN = 9191
NAMESPACE = "lab"
SERVERS = 3
KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: lab
contexts: [{name: lab, context: {cluster: lab, user: lab, namespace: lab}}]
clusters: [{name: lab, cluster: {server: "http://10.77.0.1:6443"}}]
users: [{name: lab, user: {}}]
"""


def missing() -> str:
    """What the tests lack here, and how to get it; empty if nothing."""
    if os.geteuid() != 0:
        return "no root: network namespaces and redirect rules need it; run `sudo make test`"
    for program, package in {"ip": "iproute2", "nft": "nftables", "setpriv": "util-linux"}.items():
        if not shutil.which(program):
            return f"no {program}: apt-get install {package}"
    name = f"ewma-try-{os.getpid()}"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if tried.returncode:
        return f"no network namespaces ({tried.stderr.strip()}): a container needs CAP_SYS_ADMIN and CAP_NET_ADMIN"
    subprocess.run(["ip", "netns", "del", name], check=False)
    return ""


class World:
    """The namespaces; `pod` and `world` are their names."""

    def __init__(self) -> None:
        self.pod, self.world = f"ewma-pod-{os.getpid()}", f"ewma-world-{os.getpid()}"
        self.dir = Path(tempfile.mkdtemp(prefix="ewma-netns-"))
        self.children: list[subprocess.Popen[str]] = []
        self.proxy: subprocess.Popen[str] | None = None

    def up(self) -> None:
        self.dir.chmod(0o755)
        for ns in (self.pod, self.world):
            self.host("ip", "netns", "add", ns)
            self.run("ip", "link", "set", "lo", "up", ns=ns)
        self.host("ip", "link", "add", "eth0", "netns", self.pod, "type", "veth", "peer", "eth0", "netns", self.world)
        addresses = {self.pod: ["10.77.0.2/24", "fd77::2/64"], self.world: ["10.77.0.1/24", "fd77::1/64"]}
        for n in range(SERVERS):
            addresses[self.world] += [f"10.77.1.{n + 1}/32", f"fd77:1::{n + 1}/128"]
        for ns, list_ in addresses.items():
            for address in list_:
                self.run("ip", "addr", "add", address, "dev", "eth0", *(["nodad"] if ":" in address else []), ns=ns)
            self.run("ip", "link", "set", "eth0", "up", ns=ns)
        self.run("ip", "route", "add", "default", "via", "10.77.0.1")
        self.run("ip", "-6", "route", "add", "default", "via", "fd77::1")
        (self.dir / "kubeconfig").write_text(KUBECONFIG)
        (self.dir / "no-api").write_text(KUBECONFIG.replace("6443", "6444"))
        # Beside the checkout the proxy's user may read nothing.
        shutil.copy(proxy_binary(), self.dir / "ewma-proxy")

    def down(self) -> None:
        for child in self.children:
            if child.poll() is None:
                child.kill()
            child.communicate()
        for ns in (self.pod, self.world):
            subprocess.run(["ip", "netns", "del", ns], capture_output=True, check=False)
        shutil.rmtree(self.dir, ignore_errors=True)

    def host(self, *args: str) -> str:
        done = subprocess.run(args, capture_output=True, text=True, timeout=20, check=False)
        assert done.returncode == 0, f"{' '.join(args)}: {done.stderr}"
        return done.stdout

    def run(self, *args: str, ns: str = "") -> str:
        return self.host("ip", "netns", "exec", ns or self.pod, *args)

    def start(self, *args: str, ns: str = "") -> subprocess.Popen[str]:
        command = ["ip", "netns", "exec", ns or self.pod, *args]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.children.append(child)
        return child

    def init(self, *flags: str) -> str:
        """Runs `ewma-proxy init` in the pod."""
        return self.run(str(self.dir / "ewma-proxy"), "init", "--port", str(PORT), "--proxy-uid", str(UID), *flags)

    def start_proxy(self, *more: str, kubeconfig: str = "kubeconfig", ready: bool = True) -> None:
        flags = (
            *more,
            "--policy",
            "round-robin",
            "--transparent",
            str(PORT),
            "--namespace",
            NAMESPACE,
            "--admin",
            f"127.0.0.1:{ADMIN}",
        )
        user = ("setpriv", "--reuid", str(UID), "--regid", str(UID), "--clear-groups", "--no-new-privs")
        binary = (str(self.dir / "ewma-proxy"), *flags, "--kubeconfig", str(self.dir / kubeconfig))
        self.proxy = self.start(*user, *binary)
        if not ready:
            return
        self.run(str(self.dir / "ewma-proxy"), "await", "--admin", f"127.0.0.1:{ADMIN}", "--timeout", "10")

    def kill_proxy(self) -> None:
        assert self.proxy
        self.proxy.kill()
        self.proxy.communicate()

    def client(self, kind: str, *args: str, uid: int = 0) -> Any:
        """What tests/netns/peers.py says as a client in the pod, read as JSON."""
        user = ["setpriv", "--reuid", str(uid), "--clear-groups"] if uid else []
        return json.loads(self.run(*user, sys.executable, str(PEERS), kind, *args))

    def serve(self) -> None:
        """The world's servers and its API server, once they all listen."""
        child = self.start(sys.executable, str(PEERS), "world", ns=self.world)
        assert child.stdout
        line = child.stdout.readline()
        assert line.strip() == "ready", line


PEERS = Path(__file__).with_name("peers.py")


@contextlib.contextmanager
def world() -> Iterator[World]:
    w = World()
    try:
        w.up()
        w.serve()
        yield w
    finally:
        w.down()


def skip_unless_possible() -> None:
    if lacking := missing():
        pytest.skip(lacking)


def slices(service: str, port: int, target: int) -> list[dict[str, Any]]:
    """A Service's EndpointSlices, one for each family, with every server as a pod."""
    found = []
    for family, prefix in {"IPv4": "10.77.1.", "IPv6": "fd77:1::"}.items():
        endpoints = [
            {
                "addresses": [f"{prefix}{n + 1}"],
                "conditions": {"ready": True},
                "targetRef": {"kind": "Pod", "name": f"pod-{n}", "uid": f"uid-{n}"},
            }
            for n in range(SERVERS)
        ]
        meta = {"name": f"{service}-{family.lower()}", "namespace": NAMESPACE, "resourceVersion": "1"}
        meta |= {"labels": {"kubernetes.io/service-name": service}}  # type: ignore[dict-item]
        ports = [{"name": "", "port": target, "protocol": "TCP"}]
        found.append({"metadata": meta, "addressType": family, "ports": ports, "endpoints": endpoints})
    return found


def service(name: str, port: int, target: int, ips: list[str]) -> dict[str, Any]:
    meta = {"name": name, "namespace": NAMESPACE, "resourceVersion": "1"}
    ports = [{"port": port, "targetPort": target, "protocol": "TCP"}]
    return {"metadata": meta, "spec": {"clusterIPs": ips, "ipFamilies": ["IPv4", "IPv6"], "ports": ports}}


# name → port, pods' port, cluster IPs
SERVICES: dict[str, tuple[int, int, list[str]]] = {
    "voting": (80, 8080, ["10.96.0.10", "fd96::10"]),
    "headless": (8081, 8081, ["None"]),
    "mail": (25, 2525, ["10.96.0.25", "fd96::25"]),
    "web": (8082, 8082, ["None"]),
    "tls": (443, 8443, ["10.96.0.43", "fd96::43"]),
}


class Api(BaseHTTPRequestHandler):
    """Lists the Services and slices above; a watch tells nothing and stays open."""

    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        kind = self.path.partition("?")[0].rsplit("/", 1)[-1]
        if kind == "discovery.k8s.io":
            self.say({"versions": [{"version": "v1"}]})
        elif "watch=1" in self.path:
            self.send_response(200)
            self.end_headers()
            self.wfile.flush()
            threading.Event().wait(60)
        elif kind == "services":
            items = [service(name, *what) for name, what in SERVICES.items()]
            self.say({"metadata": {"resourceVersion": "1"}, "items": items})
        else:
            items = [s for name, (port, target, _) in SERVICES.items() for s in slices(name, port, target)]
            self.say({"metadata": {"resourceVersion": "1"}, "items": items})

    def say(self, what: Any) -> None:
        body = json.dumps(what).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def api_server() -> ThreadingHTTPServer:
    server = ThreadingHTTPServer(("10.77.0.1", 6443), Api)
    server.daemon_threads = True
    return server


__all__ = ["World", "api_server", "skip_unless_possible", "wait_until", "world"]
