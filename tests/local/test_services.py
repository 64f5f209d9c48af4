"""Cluster IPs: connections, not requests, are spread; what becomes of a connection when its pod changes."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter

import grpc
import httpx
import pytest
from dnslib import RCODE, DNSRecord

from tests.local.lab_support import Lab, deployment, pod, python, server, service, who
from tests.support import wait_until

# Sends back what it gets; when the client has ended its side, sends "end" and ends too.
ECHO = """
import os, socketserver
class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(65536):
            self.request.sendall(data)
        self.request.sendall(b"end")
socketserver.ThreadingTCPServer.request_queue_size = 128
print("up", flush=True)
with socketserver.ThreadingTCPServer((os.environ["POD_IP"], 8080), Echo) as server:
    server.serve_forever()
"""


@pytest.fixture
def echo(lab: Lab) -> str:
    """The cluster IP of a Service with one echoing pod called echo."""
    probe = {"tcpSocket": {"port": 8080}, "periodSeconds": 1}
    ports = [{"name": "http", "containerPort": 8080}]
    lab.create("services", service("echo"))
    lab.create("pods", pod("echo", python(ECHO, ports=ports, readinessProbe=probe)))
    lab.until_ready("echo")
    address = str(lab.get("services", "echo")["spec"]["clusterIP"])
    wait_until(lambda: connects(address), 5, "the Service has an endpoint")
    return address


def refused(address: str) -> bool:
    try:
        return not who(address)
    except httpx.ConnectError:
        return True


def broken(address: str, kept: httpx.Client) -> bool:
    try:
        return not who(address, kept)
    except httpx.TransportError:
        return True


def connects(address: str) -> bool:
    with socket.create_connection((address, 8080), timeout=2):
        return True


def test_connections_spread_evenly_and_each_stays_with_its_pod(lab: Lab) -> None:
    lab.create("services", service("web"))
    lab.create("deployments", deployment("web", 3, server()))
    lab.until_available("web", 3)
    address = lab.get("services", "web")["spec"]["clusterIP"]
    wait_until(lambda: len(lab.addresses("web")) == 3, 5, "three endpoints")
    names = {p["metadata"]["name"] for p in lab.list("pods")}

    fresh = httpx.Client(trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))
    wait_until(lambda: {who(address, fresh) for _ in range(12)} == names, 5, "all three are known to the Service")
    met = Counter(who(address, fresh) for _ in range(600))
    # Chi-square with 2 degrees of freedom: above 18.4 once in 10 000 runs if the choice is uniform.
    assert set(met) == names
    assert sum((count - 200) ** 2 / 200 for count in met.values()) < 18.4, met

    with httpx.Client(trust_env=False, limits=httpx.Limits(max_connections=1)) as one_connection:
        assert len({who(address, one_connection) for _ in range(300)}) == 1


def test_a_service_without_ready_pods_refuses_at_once(lab: Lab) -> None:
    lab.create("services", service("web"))
    address = lab.get("services", "web")["spec"]["clusterIP"]
    begun = time.monotonic()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address, 8080), timeout=5)
    assert time.monotonic() - begun < 0.5
    lab.create("pods", pod("web", server()))
    wait_until(lambda: who(address) == "web", 10, "it answers once a pod is ready")


def test_a_connection_outlives_its_pod_s_readiness_but_not_its_pod(lab: Lab) -> None:
    lab.create("services", service("web"))
    lab.create("pods", pod("web", server()))
    direct = lab.until_ready("web")["status"]["podIP"]
    address = lab.get("services", "web")["spec"]["clusterIP"]
    wait_until(lambda: who(address) == "web", 5, "the Service answers")
    with httpx.Client(trust_env=False) as kept:
        assert who(address, kept) == "web"
        httpx.put(f"http://{direct}:8080/ready/503", trust_env=False)
        wait_until(lambda: refused(address), 5, "new connections are refused")
        assert who(address, kept) == "web"

        lab.delete("pods", "web", gracePeriodSeconds=0)
        wait_until(lambda: not lab.exists("pods", "web"), 5, "the pod is gone")
        wait_until(lambda: broken(address, kept), 2, "the kept connection is broken")


def test_a_half_closed_connection_still_brings_the_answer(echo: str) -> None:
    with socket.create_connection((echo, 8080), timeout=5) as client:
        client.sendall(b"hello")
        client.shutdown(socket.SHUT_WR)
        received = b""
        while piece := client.recv(1024):
            received += piece
    assert received == b"helloend"


def test_a_reader_that_does_not_read_holds_the_sender_back(echo: str) -> None:
    with socket.create_connection((echo, 8080), timeout=5) as client:
        client.settimeout(0.5)
        sent, chunk = 0, b"x" * 65536
        try:
            while sent < 200 * 2**20:
                sent += client.send(chunk)
        except TimeoutError:
            pass
        assert sent < 50 * 2**20  # socket buffers and 256 KiB in the daemon, not memory without end
        client.settimeout(5)
        finish = threading.Thread(target=client.shutdown, args=(socket.SHUT_WR,))
        finish.start()
        received = 0
        while piece := client.recv(2**20):
            received += len(piece)
        finish.join()
    assert received == sent + len(b"end")


def test_a_killed_pod_breaks_its_connections_at_once(lab: Lab, echo: str) -> None:
    with socket.create_connection((echo, 8080), timeout=5) as client:
        client.sendall(b"hello")
        assert client.recv(5) == b"hello"
        lab.delete("pods", "echo", gracePeriodSeconds=0)
        try:
            assert client.recv(5) == b""
        except ConnectionResetError:
            pass


def test_names_lead_to_cluster_ips_and_to_pods_when_headless(lab: Lab) -> None:
    lab.create("services", service("web"))
    lab.create("services", {**service("bare", clusterIP="None"), "metadata": {"name": "bare"}})
    member = pod("bare", server())
    lab.create("pods", member)
    address = lab.until_ready("bare")["status"]["podIP"]
    cluster_ip = lab.get("services", "web")["spec"]["clusterIP"]
    x = cluster_ip.split(".")[1]

    def ask(name: str) -> tuple[str, list[str]]:
        reply = DNSRecord.parse(DNSRecord.question(name).send(f"127.{x}.0.1", 1053, timeout=2))
        return RCODE[reply.header.rcode], [str(r.rdata) for r in reply.rr]

    assert ask(f"web.{lab.namespace}") == ("NOERROR", [cluster_ip])
    assert ask(f"web.{lab.namespace}.svc.cluster.local") == ("NOERROR", [cluster_ip])
    wait_until(lambda: ask(f"bare.{lab.namespace}.svc") == ("NOERROR", [address]), 5, "the headless name has the pod")
    assert ask("web") == ("NXDOMAIN", [])
    assert ask("nobody.example.org") == ("NXDOMAIN", [])


# Answers every gRPC call with the pod's name.
NAMES = """
import os, grpc
from concurrent.futures import ThreadPoolExecutor
class Names(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(lambda request, context: os.environ["POD_NAME"].encode())
server = grpc.server(ThreadPoolExecutor(2), handlers=[Names()])
server.add_insecure_port(os.environ["POD_IP"] + ":8080")
server.start()
print("up", flush=True)
server.wait_for_termination()
"""


def test_grpc_resolves_a_headless_name_at_the_cluster_s_dns(lab: Lab) -> None:
    lab.create("services", {**service("bare", clusterIP="None"), "metadata": {"name": "bare"}})
    probe = {"tcpSocket": {"port": 8080}, "periodSeconds": 1}
    # Not python(), whose -S leaves out the installed packages.
    container = {**python("", ports=[{"name": "http", "containerPort": 8080}], readinessProbe=probe)}
    container["command"] = ["python", "-c", NAMES]
    lab.create("deployments", {**deployment("bare", 2, container)})
    x = lab.server.split(".")[1]
    target = f"dns://127.{x}.0.1:1053/bare.{lab.namespace}.svc:8080"

    def answering() -> set[str]:
        options = [("grpc.lb_policy_name", "round_robin"), ("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(target, options=options) as channel:
            call = channel.unary_unary("/any/thing")
            return {call(b"", timeout=2).decode() for _ in range(8)}

    wait_until(lambda: len(answering()) == 2, 20, "one channel reaches both pods by the headless name")
