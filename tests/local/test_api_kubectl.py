"""A current kubectl, without any special flags, against the API server."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.local.api_support import KUBECTL, NODE, Server, deployment, needs_kubectl, pod, service
from tests.support import wait_until

pytestmark = needs_kubectl


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("api"))
    yield server
    server.close()


@pytest.fixture
def ns(server: Server, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own, deleted without waiting for a kubelet there is none of."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:50].strip("-")
    server.kubectl("create", "namespace", name)
    yield name
    server.on_loop(lambda s: s.delete("namespaces", None, name))
    for held in server.on_loop(lambda s: s.list("pods", name))[0]:
        server.on_loop(lambda s, n=held["metadata"]["name"]: s.remove("pods", name, n))
    assert name not in server.kubectl("get", "namespaces", "-o", "name")


def _json(server: Server, *args: str) -> Any:
    return json.loads(server.kubectl(*args, "-o", "json"))


def _rows(text: str) -> list[list[str]]:
    return [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]


def test_apply_creates_then_leaves_alone_then_configures(server: Server, ns: str) -> None:
    assert "created" in server.kubectl("apply", "-n", ns, "-f", "-", stdin=deployment("web"))
    assert "unchanged" in server.kubectl("apply", "-n", ns, "-f", "-", stdin=deployment("web"))
    changed = deployment("web", image="demo:2")
    del changed["spec"]["template"]["spec"]["containers"][0]["env"][0]
    assert "configured" in server.kubectl("apply", "-n", ns, "-f", "-", stdin=changed)
    container = _json(server, "get", "deploy", "web", "-n", ns)["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "demo:2"
    assert container["env"] == [{"name": "B", "value": "2"}], "what the manifest no longer names is taken away"


def test_apply_keeps_what_others_added(server: Server, ns: str) -> None:
    server.kubectl("apply", "-n", ns, "-f", "-", stdin=deployment("web"))
    sidecar = {"name": "ewma-proxy", "image": "proxy:1"}
    change = {"spec": {"template": {"spec": {"containers": [sidecar]}}}}
    server.kubectl("patch", "deploy", "web", "-n", ns, "--type=strategic", "-p", json.dumps(change))
    server.kubectl("apply", "-n", ns, "-f", "-", stdin=deployment("web", image="demo:3"))
    containers = _json(server, "get", "deploy", "web", "-n", ns)["spec"]["template"]["spec"]["containers"]
    assert [(c["name"], c["image"]) for c in containers] == [
        ("ewma-proxy", "proxy:1"),
        ("app", "demo:3"),
    ] or [(c["name"], c["image"]) for c in containers] == [("app", "demo:3"), ("ewma-proxy", "proxy:1")]


def test_server_side_apply_creates_and_merges(server: Server, ns: str) -> None:
    apply = ("apply", "--server-side", "-n", ns, "-f", "-")
    server.kubectl(*apply, stdin=deployment("web"))
    server.kubectl(*apply, stdin=deployment("web", image="demo:2"))
    assert (
        _json(server, "get", "deploy", "web", "-n", ns)["spec"]["template"]["spec"]["containers"][0]["image"]
        == "demo:2"
    )


def test_a_misspelt_field_is_refused_by_name(server: Server, ns: str) -> None:
    wrong = deployment("web")
    wrong["spec"]["replica"] = 3
    told = server.kubectl("apply", "-n", ns, "-f", "-", stdin=wrong, ok=False)
    assert 'unknown field "spec.replica"' in told
    wrong = deployment("web")
    wrong["spec"]["replicas"] = "three"
    assert "spec.replicas" in server.kubectl("apply", "-n", ns, "-f", "-", stdin=wrong, ok=False)


def test_an_invalid_object_is_refused_with_the_reason(server: Server, ns: str) -> None:
    wrong = deployment("web")
    wrong["spec"]["selector"]["matchLabels"] = {"app": "another"}
    told = server.kubectl("apply", "-n", ns, "-f", "-", stdin=wrong, ok=False)
    assert 'The Deployment "web" is invalid' in told
    assert "`selector` does not match template `labels`" in told


def test_get_shows_the_usual_columns(server: Server, ns: str) -> None:
    server.kubectl("create", "-n", ns, "-f", "-", stdin=deployment("web"))
    server.kubectl("create", "-n", ns, "-f", "-", stdin=service("web"))
    server.kubectl("create", "-n", ns, "-f", "-", stdin=pod("p", node=NODE))

    def running(p: dict[str, Any]) -> None:
        state = {
            "name": "app",
            "ready": True,
            "restartCount": 2,
            "state": {"running": {}},
            "image": "",
            "imageID": "",
        }
        p["status"].update(phase="Running", podIP="127.9.1.1", containerStatuses=[state])

    server.on_loop(lambda s: s.mutate("pods", ns, "p", running, subresource="status"))
    slice_ = {
        "metadata": {"name": "web-x"}, "addressType": "IPv4", "ports": [{"port": 8080}],
        "endpoints": [{"addresses": ["127.9.1.1"]}],
    }  # fmt: skip
    server.on_loop(lambda s: s.create("endpointslices", ns, slice_))
    cases = {
        "pods": ["NAME", "READY", "STATUS", "RESTARTS", "AGE"],
        "deployments": ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"],
        "services": ["NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE"],
        "endpointslices": ["NAME", "ADDRESSTYPE", "PORTS", "ENDPOINTS", "AGE"],
    }
    rows = {kind: _rows(server.kubectl("get", kind, "-n", ns)) for kind in cases}
    assert {kind: found[0] for kind, found in rows.items()} == cases
    assert rows["pods"][1][:4] == ["p", "1/1", "Running", "2"]
    assert rows["deployments"][1][:4] == ["web", "0/2", "0", "0"]
    assert rows["services"][1][1] == "ClusterIP"
    assert rows["services"][1][4] == "8080/TCP"
    assert rows["endpointslices"][1][:4] == ["web-x", "IPv4", "8080", "127.9.1.1"]
    wide = _rows(server.kubectl("get", "pod", "p", "-n", ns, "-o", "wide"))
    assert wide[0][5:7] == ["IP", "NODE"]
    assert wide[1][5:7] == ["127.9.1.1", NODE]
    assert "pod/p" in server.kubectl("get", "all", "-n", ns)


@pytest.mark.parametrize("kind", ["nodes", "ns", "cm", "secrets", "sa", "events", "rs", "roles", "rolebindings"])
def test_every_kind_can_be_listed(server: Server, kind: str) -> None:
    server.kubectl("get", kind, "-A" if kind not in ("nodes", "ns") else "--no-headers")


def test_events_show_with_kubectl_events_and_describe(server: Server, ns: str) -> None:
    server.kubectl("create", "-n", ns, "-f", "-", stdin=pod("p"))
    uid = server.on_loop(lambda s: s.get("pods", ns, "p"))["metadata"]["uid"]
    about = {"kind": "Pod", "name": "p", "namespace": ns, "uid": uid, "apiVersion": "v1"}
    event = {
        "metadata": {"name": "p.1"}, "involvedObject": about, "reason": "Scheduled", "message": "assigned it",
        "type": "Normal", "count": 3, "firstTimestamp": "2024-01-01T00:00:00Z", "lastTimestamp": "2024-01-01T00:00:09Z",
    }  # fmt: skip
    server.on_loop(lambda s: s.create("events", ns, event))
    for args in (("get", "events"), ("events",), ("describe", "pod", "p")):
        shown = server.kubectl(*args, "-n", ns)
        assert "Scheduled" in shown
        assert "assigned it" in shown
        assert "(x3 over" in shown


def test_scale_label_annotate_and_three_patches(server: Server, ns: str) -> None:
    server.kubectl("apply", "-n", ns, "-f", "-", stdin=deployment("web"))
    server.kubectl("scale", "deploy/web", "-n", ns, "--replicas=5")
    server.kubectl("label", "deploy/web", "-n", ns, "tier=front")
    server.kubectl("annotate", "deploy/web", "-n", ns, "note=seen")
    for kind, change in {
        "json": [{"op": "add", "path": "/metadata/labels/j", "value": "1"}],
        "merge": {"metadata": {"labels": {"m": "1"}}},
        "strategic": {"spec": {"template": {"spec": {"containers": [{"name": "app", "image": "demo:9"}]}}}},
    }.items():
        server.kubectl("patch", "deploy", "web", "-n", ns, f"--type={kind}", "-p", json.dumps(change))
    found = _json(server, "get", "deploy", "web", "-n", ns)
    assert found["spec"]["replicas"] == 5
    assert found["metadata"]["labels"] == {"app": "web", "tier": "front", "j": "1", "m": "1"}
    assert found["metadata"]["annotations"]["note"] == "seen"
    container = found["spec"]["template"]["spec"]["containers"][0]
    assert (container["image"], len(container["env"])) == ("demo:9", 2)
    assert "must be greater than or equal to 0" in server.kubectl(
        "patch",
        "deploy",
        "web",
        "-n",
        ns,
        "--subresource=scale",
        "--type=merge",
        "-p",
        '{"spec":{"replicas":-1}}',
        ok=False,
    )


def test_rollout_restart_and_status_follow_the_status(server: Server, ns: str) -> None:
    server.kubectl("apply", "-n", ns, "-f", "-", stdin=deployment("web"))
    server.kubectl("rollout", "restart", "deploy/web", "-n", ns)
    template = _json(server, "get", "deploy", "web", "-n", ns)["spec"]["template"]
    assert "kubectl.kubernetes.io/restartedAt" in template["metadata"]["annotations"]
    command = [KUBECTL, "rollout", "status", "deploy/web", "-n", ns, "--timeout=30s"]
    waiting = subprocess.Popen(command, env=server.env(), stdout=subprocess.PIPE, text=True)
    try:
        assert waiting.stdout is not None
        assert "Waiting for deployment" in waiting.stdout.readline()
        done = {
            "observedGeneration": 2,
            "replicas": 2,
            "updatedReplicas": 2,
            "readyReplicas": 2,
            "availableReplicas": 2,
        }
        server.on_loop(
            lambda s: s.mutate("deployments", ns, "web", lambda d: d.update(status=done), subresource="status")
        )
        assert "successfully rolled out" in waiting.communicate(timeout=20)[0]
        assert waiting.returncode == 0
    finally:
        waiting.kill()
        waiting.wait()


def test_get_watch_prints_rows_as_they_change(server: Server, ns: str, tmp_path: Path) -> None:
    server.kubectl("create", "-n", ns, "-f", "-", stdin=pod("p", node=NODE))
    out = tmp_path / "out"
    with out.open("w") as file:
        watching = subprocess.Popen([KUBECTL, "get", "pods", "-n", ns, "-w"], env=server.env(), stdout=file)
        try:
            wait_until(lambda: "Pending" in out.read_text(), 15, "the first row")
            server.on_loop(
                lambda s: s.mutate("pods", ns, "p", lambda p: p["status"].update(phase="Running"), subresource="status")
            )
            wait_until(lambda: "Running" in out.read_text(), 15, "the changed row")
        finally:
            watching.kill()
            watching.wait()


def test_delete_waits_until_the_kubelet_is_done(server: Server, ns: str) -> None:
    server.kubectl("create", "-n", ns, "-f", "-", stdin=pod("p", node=NODE))
    deleting = subprocess.Popen([KUBECTL, "delete", "pod", "p", "-n", ns], env=server.env(), stdout=subprocess.PIPE)
    try:
        wait_until(
            lambda: server.on_loop(lambda s: s.get("pods", ns, "p"))["metadata"].get("deletionTimestamp"),
            15,
            "the mark",
        )
        assert "Terminating" in server.kubectl("get", "pod", "p", "-n", ns)
        assert deleting.poll() is None
        server.on_loop(lambda s: s.remove("pods", ns, "p"))
        assert deleting.wait(15) == 0
    finally:
        deleting.kill()
        deleting.wait()
    assert "NotFound" in server.kubectl("get", "pod", "p", "-n", ns, ok=False)


def test_delete_by_label_leaves_the_others(server: Server, ns: str) -> None:
    for name, label in (("a", "x"), ("b", "x"), ("c", "y")):
        server.kubectl("create", "-n", ns, "-f", "-", stdin=pod(name, labels={"k": label}))
    server.kubectl("delete", "pods", "-n", ns, "-l", "k in (x)")
    assert server.kubectl("get", "pods", "-n", ns, "-o", "name").split() == ["pod/c"]


def test_wait_for_a_condition(server: Server, ns: str) -> None:
    server.kubectl("create", "-n", ns, "-f", "-", stdin=pod("p", node=NODE))
    ready = {"type": "Ready", "status": "True"}
    server.on_loop(
        lambda s: s.mutate("pods", ns, "p", lambda p: p["status"].update(conditions=[ready]), subresource="status")
    )
    server.kubectl("wait", "pod/p", "-n", ns, "--for=condition=Ready", "--timeout=10s")


def test_typed_commands_that_send_protobuf(server: Server, ns: str) -> None:
    server.kubectl("create", "deployment", "d", "-n", ns, "--image=demo:1", "--replicas=3", "--port=8080")
    server.kubectl("create", "service", "clusterip", "s", "-n", ns, "--tcp=80:8080")
    server.kubectl("create", "configmap", "c", "-n", ns, "--from-literal=a=b")
    server.kubectl("create", "secret", "generic", "k", "-n", ns, "--from-literal=a=b")
    server.kubectl("create", "serviceaccount", "sa", "-n", ns)
    server.kubectl("create", "role", "r", "-n", ns, "--verb=get", "--resource=pods")
    server.kubectl("create", "rolebinding", "rb", "-n", ns, "--role=r", f"--serviceaccount={ns}:sa")
    made = _json(server, "get", "deploy", "d", "-n", ns)["spec"]
    assert made["replicas"] == 3
    assert made["template"]["spec"]["containers"][0]["ports"] == [{"containerPort": 8080, "protocol": "TCP"}] or (
        made["template"]["spec"]["containers"][0]["ports"][0]["containerPort"] == 8080
    )
    assert made["strategy"]["rollingUpdate"] == {"maxSurge": "25%", "maxUnavailable": "25%"}
    port = _json(server, "get", "svc", "s", "-n", ns)["spec"]["ports"][0]
    assert (port["name"], port["port"], port["targetPort"]) == ("80-8080", 80, 8080)
    assert _json(server, "get", "cm", "c", "-n", ns)["data"] == {"a": "b"}
    assert _json(server, "get", "secret", "k", "-n", ns)["data"] == {"a": "Yg=="}
    assert _json(server, "get", "role", "r", "-n", ns)["rules"][0]["resources"] == ["pods"]
    subject = _json(server, "get", "rolebinding", "rb", "-n", ns)["subjects"][0]
    assert (subject["kind"], subject["namespace"], subject["name"]) == ("ServiceAccount", ns, "sa")
    assert server.kubectl("create", "token", "sa", "-n", ns).strip() == f"{ns}.sa"


def test_who_am_i_and_may_i(server: Server) -> None:
    assert "tester" in server.kubectl("auth", "whoami")
    assert server.kubectl("auth", "can-i", "create", "deployments").strip() == "yes"
    assert "*.*" in server.kubectl("auth", "can-i", "--list")


def test_discovery_version_and_explain(server: Server) -> None:
    names = server.kubectl("api-resources", "-o", "name").split()
    assert {"pods", "deployments.apps", "endpointslices.discovery.k8s.io"} <= set(names)
    assert "apps/v1" in server.kubectl("api-versions")
    assert "v1.37" in server.kubectl("version")
    assert "httpGet" in server.kubectl("explain", "pod.spec.containers.readinessProbe")
    assert server.kubectl("get", "--raw", "/readyz") == "ok"


def test_diff_and_dry_run_change_nothing(server: Server, ns: str) -> None:
    server.kubectl("apply", "-n", ns, "-f", "-", stdin=deployment("web"))
    before = server.on_loop(lambda s: s.resource_version)
    changed = deployment("web", image="demo:2")
    server.kubectl("apply", "-n", ns, "-f", "-", "--dry-run=server", stdin=changed)
    server.kubectl("create", "-n", ns, "-f", "-", "--dry-run=server", stdin=deployment("other"))
    server.kubectl("delete", "deploy", "web", "-n", ns, "--dry-run=server")
    if shutil.which("diff"):
        shown = subprocess.run(
            [KUBECTL, "diff", "-n", ns, "-f", "-"], input=json.dumps(changed), env=server.env(), capture_output=True,
            text=True, timeout=30,
        )  # fmt: skip
        assert shown.returncode == 1
        assert (
            "+      - image: demo:2" in shown.stdout.replace("        image", "      - image")
            or "demo:2" in shown.stdout
        )
    assert server.on_loop(lambda s: s.resource_version) == before


def test_logs_of_a_pod(server: Server, ns: str) -> None:
    server.kubectl("create", "-n", ns, "-f", "-", stdin=pod("p", node=NODE))
    assert "waiting to start: ContainerCreating" in server.kubectl("logs", "p", "-n", ns, ok=False)
    server.node.lines["p"] = [b"one\n", b"two\n", b"three\n"]
    assert server.kubectl("logs", "p", "-n", ns) == "one\ntwo\nthree\n"
    assert server.kubectl("logs", "p", "-n", ns, "--tail=2", "-c", "app", "--timestamps") == "two\nthree\n"
    assert server.node.asked[-1] == {
        "container": "app", "tail": 2, "previous": False, "timestamps": True, "since": None
    }  # fmt: skip
    assert "is not valid for pod p" in server.kubectl("logs", "p", "-n", ns, "-c", "nope", ok=False)


def test_logs_follow_ends_with_the_container_and_is_closed_when_the_reader_leaves(
    server: Server, ns: str, tmp_path: Path
) -> None:
    server.kubectl("create", "-n", ns, "-f", "-", stdin=pod("f", node=NODE))
    server.node.lines["f"] = [b"first\n"]
    out = tmp_path / "log"
    for leaves in (False, True):
        with out.open("w") as file:
            reader = subprocess.Popen([KUBECTL, "logs", "-f", "f", "-n", ns], env=server.env(), stdout=file)
            try:
                wait_until(lambda: out.read_text() == "first\n", 15, "the first line")
                server.node.left.clear()
                server.loop.call_soon_threadsafe(server.node.more.put_nowait, b"second\n")
                wait_until(lambda: out.read_text() == "first\nsecond\n", 15, "the line that came later")
                if leaves:
                    reader.kill()
                else:
                    server.loop.call_soon_threadsafe(server.node.more.put_nowait, None)
                    assert reader.wait(15) == 0
                wait_until(server.node.left.is_set, 15, "the end of the log stream")
            finally:
                reader.kill()
                reader.wait()


def test_an_older_kubectl_works_too(server: Server, ns: str) -> None:
    others = [p for p in ("/usr/bin/kubectl", "/usr/local/bin/kubectl") if os.access(p, os.X_OK)]
    if not others:
        pytest.skip("no other kubectl on this machine: install the distribution's package to run this")
    for stdin, word in ((deployment("web"), "created"), (deployment("web", image="demo:2"), "configured")):
        assert word in server.kubectl("apply", "-n", ns, "-f", "-", stdin=stdin, binary=others[0])
    assert "demo:2" in server.kubectl("get", "deploy", "-n", ns, "-o", "wide", binary=others[0])
