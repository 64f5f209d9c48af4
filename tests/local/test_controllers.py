"""Deployments, ReplicaSets, EndpointSlices and garbage collection, seen through the API and with kubectl."""

from __future__ import annotations

import threading

import httpx

from tests.local.lab_support import Lab, Object, deployment, pod, python, ready, server, service, who
from tests.support import wait_until


def pods_of(lab: Lab, name: str) -> list[Object]:
    return [p for p in lab.list("pods") if p["metadata"]["labels"].get("app") == name]


def test_a_deployment_scales_up_and_down_and_replaces_a_lost_pod(lab: Lab) -> None:
    lab.create("deployments", deployment("web", 2, server()))
    lab.until_available("web", 2)
    lab.kubectl("scale", "deployment/web", "--replicas=3")
    lab.until_available("web", 3)
    lost = pods_of(lab, "web")[0]["metadata"]["name"]
    lab.delete("pods", lost)
    wait_until(lambda: not lab.exists("pods", lost), 5, "the deleted pod is gone")
    lab.until_available("web", 3)
    lab.kubectl("scale", "deployment/web", "--replicas=1")
    wait_until(lambda: len(pods_of(lab, "web")) == 1, 10, "one pod is left")
    (conditions,) = [lab.get("deployments", "web")["status"]["conditions"]]
    reasons = {c["type"]: c["reason"] for c in conditions}
    assert reasons == {"Available": "MinimumReplicasAvailable", "Progressing": "NewReplicaSetAvailable"}


def test_a_rolling_update_never_leaves_the_service_without_an_answer(lab: Lab) -> None:
    lab.create("services", service("web"))
    strategy = {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    leave_late = {"preStop": {"sleep": {"seconds": 1}}}  # as a real pod needs it, until everyone knows it is going
    lab.create("deployments", deployment("web", 2, server(lifecycle=leave_late), strategy=strategy))
    lab.until_available("web", 2)
    before = {p["metadata"]["name"] for p in pods_of(lab, "web")}
    address = lab.get("services", "web")["spec"]["clusterIP"]
    done, answers, failures, fewest = threading.Event(), set(), [], [2]

    def visit() -> None:
        with httpx.Client(trust_env=False, timeout=5, limits=httpx.Limits(max_keepalive_connections=0)) as client:
            while not done.wait(0.01):
                try:
                    answers.add(who(address, client))
                except httpx.HTTPError as e:
                    failures.append(repr(e))

    def watch() -> None:
        while not done.wait(0.05):
            fewest.append(sum(ready(p) for p in pods_of(lab, "web") if "deletionTimestamp" not in p["metadata"]))

    threads = [threading.Thread(target=visit), threading.Thread(target=watch)]
    for thread in threads:
        thread.start()
    try:
        lab.kubectl("rollout", "restart", "deployment/web")
        said = lab.kubectl("rollout", "status", "deployment/web", "--timeout=25s")
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert "successfully rolled out" in said
    assert failures == []
    assert min(fewest) == 2
    now = {p["metadata"]["name"] for p in pods_of(lab, "web") if "deletionTimestamp" not in p["metadata"]}
    assert not now & before
    assert answers & before
    assert answers & now


def test_a_rollout_that_cannot_become_ready_keeps_the_old_pods_and_can_be_undone(lab: Lab) -> None:
    lab.create("deployments", deployment("web", 2, server()))
    lab.until_available("web", 2)
    lab.kubectl("set", "env", "deployment/web", "READY=503")
    wait_until(lambda: len(pods_of(lab, "web")) == 3, 5, "one new pod is tried (25% surge of 2)")
    status = lab.get("deployments", "web")["status"]
    assert status["availableReplicas"] == 2
    assert status["updatedReplicas"] == 1
    lab.kubectl("rollout", "undo", "deployment/web")
    lab.until_available("web", 2)
    wait_until(lambda: len(pods_of(lab, "web")) == 2, 5, "the failed pod is gone")
    assert lab.get("deployments", "web")["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"


def test_recreate_ends_all_old_pods_before_it_makes_a_new_one(lab: Lab) -> None:
    slow = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (time.sleep(1), sys.exit()))
time.sleep(600)
"""
    lab.create("deployments", deployment("web", 1, python(slow), strategy={"type": "Recreate"}))
    lab.until_available("web", 1)
    (old,) = pods_of(lab, "web")
    lab.kubectl("rollout", "restart", "deployment/web")
    seen: set[int] = set()

    def replaced() -> bool:
        now = pods_of(lab, "web")
        seen.add(len(now))
        return bool(now) and all(p["metadata"]["uid"] != old["metadata"]["uid"] for p in now)

    wait_until(replaced, 10, "a new pod")
    lab.until_available("web", 1)
    assert max(seen) == 1


def test_what_a_deployment_made_goes_with_it(lab: Lab) -> None:
    lab.create("deployments", deployment("web", 2, server()))
    lab.create("services", service("web"))
    lab.until_available("web", 2)
    lab.delete("deployments", "web")
    lab.delete("services", "web")
    dependents = ("replicasets", "pods", "endpointslices")
    wait_until(lambda: not any(lab.list(plural) for plural in dependents), 5, "nothing of it is left")


def test_deleting_a_namespace_takes_everything_in_it(running_lab: Lab) -> None:
    with running_lab.in_new_namespace() as lab:
        lab.create("deployments", deployment("web", 2, server()))
        lab.until_available("web", 2)
        lab.kubectl("delete", "namespace", lab.namespace, "--timeout=15s")
        assert lab.http.get(f"/api/v1/namespaces/{lab.namespace}").status_code == 404
        assert lab.list("pods") == []


def test_an_endpoint_says_ready_serving_and_terminating_of_its_pod(lab: Lab) -> None:
    lab.create("services", service("web"))
    wait_until(lambda: len(lab.list("endpointslices")) == 1, 5, "an empty slice")
    assert lab.addresses("web") == set()
    late = {"preStop": {"sleep": {"seconds": 1}}}
    lab.create("pods", pod("web", server(lifecycle=late)))
    found = lab.until_ready("web")
    address = found["status"]["podIP"]
    wait_until(lambda: lab.addresses("web") == {address}, 5, "the ready pod is an endpoint")
    (one,) = lab.list("endpointslices")
    assert one["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
    assert one["addressType"] == "IPv4"
    (endpoint,) = one["endpoints"]
    assert endpoint["nodeName"] == "local"
    assert endpoint["targetRef"] == {
        "kind": "Pod", "name": "web", "namespace": lab.namespace, "uid": found["metadata"]["uid"],
    }  # fmt: skip
    httpx.put(f"http://{address}:8080/ready/503", trust_env=False)
    wait_until(lambda: lab.addresses("web") == set(), 5, "the unready pod is no ready endpoint")
    httpx.put(f"http://{address}:8080/ready/200", trust_env=False)
    wait_until(lambda: lab.addresses("web") == {address}, 5, "it is again")
    lab.delete("pods", "web")
    wait_until(lambda: lab.addresses("web", "terminating") == {address}, 5, "it is terminating")
    assert lab.addresses("web") == set()
    assert lab.addresses("web", "serving") == {address}
    wait_until(lambda: not lab.list("endpointslices")[0].get("endpoints"), 5, "the pod left the slice")


def test_a_named_target_port_is_looked_up_in_each_pod(lab: Lab) -> None:
    lab.create("services", service("web"))
    for name, port in (("a", 8080), ("b", 9090)):
        sleeper = python("import time; time.sleep(600)", ports=[{"name": "http", "containerPort": port}])
        one = pod(name, sleeper)
        one["metadata"]["labels"] = {"app": "web"}
        lab.create("pods", one)
        lab.until_ready(name)

    def ports() -> list[int]:
        return sorted(p["port"] for one in lab.list("endpointslices") for p in one.get("ports") or ())

    wait_until(lambda: ports() == [8080, 9090], 5, "a slice for each port")
