"""Pods as processes: what they find, what is told of them, how they start, restart and end."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from lab.clusters.local.process import start_ticks
from tests.local.lab_support import IMAGE, POD_ENV, SERVER, Lab, Object, pod, python, server, service, who
from tests.support import wait_until

SLEEP = "import time; time.sleep(600)"


# Prints "up" once SIGTERM will be ignored.
DEAF = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
time.sleep(600)
"""


def environment_of(lab: Lab, name: str) -> dict[str, str]:
    """The environment that a server pod reports."""
    address = lab.until_ready(name)["status"]["podIP"]
    return dict(httpx.get(f"http://{address}:8080/env", trust_env=False).json())


def test_a_pod_runs_with_an_address_of_its_own_and_says_so(lab: Lab) -> None:
    lab.create("pods", pod("one", server()))
    status = lab.until_ready("one")["status"]
    assert who(status["podIP"]) == "one"
    assert status["podIP"].startswith("127.")
    assert status["podIP"].endswith(".1")
    assert status["phase"] == "Running"
    container = lab.container("one")
    assert container["ready"]
    assert container["started"]
    assert container["restartCount"] == 0
    assert psutil.pid_exists(int(container["containerID"].removeprefix("local://")))
    assert lab.log("one") == "listening\n"
    assert {"Scheduled", "Started"} <= lab.events("one")


def test_a_container_finds_what_its_pod_says_and_nothing_of_the_lab_s_own_environment(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.create("configmaps", {"metadata": {"name": "settings"}, "data": {"COLOUR": "red", "SIZE": "10"}})
    lab.create("services", service("db-main"))
    env: list[Object] = [
        *POD_ENV,
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        {"name": "ACCOUNT", "valueFrom": {"fieldRef": {"fieldPath": "spec.serviceAccountName"}}},
        {"name": "ONE", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "COLOUR"}}},
        {"name": "NONE", "valueFrom": {"configMapKeyRef": {"name": "no", "key": "no", "optional": True}}},
        {"name": "URL", "value": "http://$(POD_IP):$(DB_MAIN_SERVICE_PORT)/$(UNKNOWN)/$$(POD_IP)"},
    ]
    container = server(envFrom=[{"prefix": "CM_", "configMapRef": {"name": "settings"}}])
    lab.create("pods", pod("env", {**container, "env": env}))
    found = environment_of(lab, "env")
    address = lab.get("services", "db-main")["spec"]["clusterIP"]
    assert found["NODE"] == "local"
    assert found["APP"] == "env"
    assert found["ACCOUNT"] == "default"
    assert (found["ONE"], found["CM_SIZE"]) == ("red", "10")
    assert "NONE" not in found
    assert found["URL"] == f"http://{found['POD_IP']}:8080/$(UNKNOWN)/$(POD_IP)"
    assert found["DB_MAIN_SERVICE_HOST"] == address
    assert found["DB_MAIN_SERVICE_PORT_HTTP"] == "8080"
    assert found["DB_MAIN_PORT_8080_TCP"] == f"tcp://{address}:8080"
    assert f"https://{found['KUBERNETES_SERVICE_HOST']}:{found['KUBERNETES_SERVICE_PORT']}" == lab.server
    assert found["HOME"] != str(psutil.Process().environ().get("HOME"))
    known = ("PATH", "HOME", "LANG", "HOSTNAME", "TMPDIR", "KUBECONFIG", "PYTHON", "BALANCE_LAB_")
    stated = {e["name"] for e in env}
    services = ("DB_MAIN_", "KUBERNETES_", "CM_")
    assert not {n for n in found if n not in stated and not n.startswith((*known, *services, "LC_CTYPE"))}


def test_a_pod_speaks_to_the_api_as_its_service_account(lab: Lab) -> None:
    lab.create("serviceaccounts", {"metadata": {"name": "reader"}})
    lab.create("pods", pod("caller", server(), serviceAccountName="reader"))
    lab.create("pods", pod("mute", server(), automountServiceAccountToken=False))
    config = json.loads(Path(environment_of(lab, "caller")["KUBECONFIG"]).read_text())
    token = config["users"][0]["user"]["token"]
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    answer = lab.http.post(
        "/apis/authentication.k8s.io/v1/selfsubjectreviews",
        json=review,
        headers={"Authorization": f"Bearer {token}"},
    ).json()
    assert answer["status"]["userInfo"]["username"] == f"system:serviceaccount:{lab.namespace}:reader"
    assert "KUBECONFIG" not in environment_of(lab, "mute")
    lab.delete("pods", "caller")
    wait_until(lambda: not lab.exists("pods", "caller"), 5, "the pod is gone")
    late = lab.http.get("/api/v1/pods", headers={"Authorization": f"Bearer {token}"})
    assert late.status_code == 401


def test_in_a_meshed_pod_services_are_found_at_the_sidecar_but_not_by_the_sidecar(lab: Lab) -> None:
    lab.create("services", service("voting"))
    show = "import json, os; print(json.dumps(dict(os.environ)))"
    containers = [python(show, "app"), python(show, "ewma-proxy")]
    lab.create("pods", pod("meshed", *containers, restartPolicy="Never"))
    status = lab.until_over("meshed")["status"]
    app = json.loads(lab.log("meshed", container="app"))
    proxy = json.loads(lab.log("meshed", container="ewma-proxy"))
    direct = lab.get("services", "voting")["spec"]["clusterIP"]
    x, p, s = direct.split(".")[1], status["podIP"].split(".")[2], direct.split(".")[3]
    assert app["VOTING_SERVICE_HOST"] == f"127.{x}.{p}.{s}"
    assert proxy["VOTING_SERVICE_HOST"] == direct == f"127.{x}.0.{s}"
    assert proxy["EWMA_PROXY_REDIRECT"] == f"127.{x}.0.0/24=127.{x}.{p}.0/24"
    assert "EWMA_PROXY_REDIRECT" not in app


def test_a_crashing_container_restarts_later_each_time(lab: Lab) -> None:
    lab.create("pods", pod("crash", python("print('once more', flush=True); raise SystemExit(3)")))
    wait_until(lambda: lab.container("crash")["restartCount"] == 2, 10, "two restarts")

    def backing_off() -> bool:
        return bool(lab.container("crash")["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff")

    wait_until(backing_off, 5, "CrashLoopBackOff")
    container = lab.container("crash")
    assert container["lastState"]["terminated"]["exitCode"] == 3
    assert container["lastState"]["terminated"]["reason"] == "Error"
    assert "back-off 4s" in container["state"]["waiting"]["message"]
    assert lab.log("crash", previous="true") == "once more\n"
    assert "BackOff" in lab.events("crash")


@pytest.mark.parametrize(
    ("policy", "code", "phase"),
    [("Never", 0, "Succeeded"), ("Never", 9, "Failed"), ("OnFailure", 0, "Succeeded")],
)
def test_a_pod_that_does_not_restart_ends_in_a_phase(lab: Lab, policy: str, code: int, phase: str) -> None:
    lab.create("pods", pod("job", python(f"raise SystemExit({code})"), restartPolicy=policy))
    assert lab.until_over("job")["status"]["phase"] == phase
    assert lab.container("job")["state"]["terminated"]["exitCode"] == code
    lab.delete("pods", "job")
    assert not lab.exists("pods", "job")


def test_a_container_killed_by_a_signal_says_which(lab: Lab) -> None:
    lab.create("pods", pod("shot", python("import os; os.kill(os.getpid(), 9)"), restartPolicy="Never"))
    lab.until_over("shot")
    ended = lab.container("shot")["state"]["terminated"]
    assert (ended["exitCode"], ended["signal"]) == (137, 9)


def test_readiness_follows_the_probe_both_ways(lab: Lab) -> None:
    lab.create("pods", pod("moody", server(), terminationGracePeriodSeconds=1))
    address = lab.until_ready("moody")["status"]["podIP"]
    httpx.put(f"http://{address}:8080/ready/503", trust_env=False)
    wait_until(lambda: not lab.container("moody")["ready"], 5, "not ready")
    assert lab.container("moody")["restartCount"] == 0
    httpx.put(f"http://{address}:8080/ready/200", trust_env=False)
    lab.until_ready("moody")
    assert "Unhealthy" in lab.events("moody")


def test_a_failing_liveness_probe_restarts_the_container(lab: Lab) -> None:
    check = {"command": ["sh", "-c", 'test ! -e "$HOME/sick"']}
    probe = {"exec": check, "initialDelaySeconds": 1, "periodSeconds": 1, "failureThreshold": 1}
    once = "import os, pathlib, time; f = pathlib.Path(os.environ['HOME'], 'sick')\n"
    program = once + "f.unlink() if f.exists() else f.touch()\ntime.sleep(600)"
    lab.create("pods", pod("sick", python(program, livenessProbe=probe), terminationGracePeriodSeconds=1))
    wait_until(lambda: lab.container("sick")["restartCount"] == 1, 10, "a restart")
    lab.until_ready("sick")
    assert lab.container("sick")["lastState"]["terminated"]["signal"] == 15


def test_other_probes_wait_for_the_startup_probe(lab: Lab) -> None:
    startup = {"tcpSocket": {"port": 8080}, "periodSeconds": 1, "failureThreshold": 30}
    liveness = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}
    late = python("import time; time.sleep(1.5)\n" + SERVER, startupProbe=startup, livenessProbe=liveness)
    lab.create("pods", pod("slow", late, terminationGracePeriodSeconds=1))
    wait_until(lambda: "listening" in lab.log("slow"), 10, "the server listens, not killed before")
    assert lab.container("slow")["restartCount"] == 0
    wait_until(lambda: lab.container("slow")["restartCount"] == 1, 10, "liveness counts now")


def test_the_grpc_probe_asks_the_health_service(lab: Lab) -> None:
    program = """
import os, grpc
from concurrent.futures import ThreadPoolExecutor
from grpc_health.v1 import health, health_pb2_grpc
server = grpc.server(ThreadPoolExecutor(2))
health_pb2_grpc.add_HealthServicer_to_server(health.HealthServicer(), server)
server.add_insecure_port(os.environ["POD_IP"] + ":8080")
server.start()
server.wait_for_termination()
"""
    command = ["python", "-c", program]
    good = python("", "good", command=command, readinessProbe={"grpc": {"port": 8080}, "periodSeconds": 1})
    bad = python(SLEEP, "bad", readinessProbe={"grpc": {"port": 8080, "service": "no"}, "periodSeconds": 1})
    lab.create("pods", pod("grpc", good, bad))
    wait_until(lambda: lab.container("grpc", "good")["ready"], 10, "the health service says SERVING")
    assert not lab.container("grpc", "bad")["ready"]
    wait_until(lambda: "Unhealthy" in lab.events("grpc"), 5, "the unknown service is not healthy")


def test_deleting_gives_the_pod_its_grace_and_then_kills(lab: Lab) -> None:
    lab.create("pods", pod("deaf", python(DEAF), terminationGracePeriodSeconds=1))
    wait_until(lambda: lab.log("deaf") == "up\n", 5, "the program runs")
    pid = int(lab.container("deaf")["containerID"].removeprefix("local://"))
    begun = time.monotonic()
    lab.delete("pods", "deaf")
    assert lab.get("pods", "deaf")["metadata"]["deletionTimestamp"]
    wait_until(lambda: not lab.exists("pods", "deaf"), 5, "the pod is gone")
    assert 0.9 < time.monotonic() - begun < 3
    assert not psutil.pid_exists(pid)


def test_a_forced_delete_kills_at_once(lab: Lab) -> None:
    lab.create("pods", pod("deaf", python(DEAF)))
    wait_until(lambda: lab.log("deaf") == "up\n", 5, "the program runs")
    pid = int(lab.container("deaf")["containerID"].removeprefix("local://"))
    lab.delete("pods", "deaf")
    lab.delete("pods", "deaf", gracePeriodSeconds=0)
    wait_until(lambda: not psutil.pid_exists(pid), 2, "the process is gone")
    assert not lab.exists("pods", "deaf")


def test_children_of_a_container_go_with_it(lab: Lab) -> None:
    parent = f"""
import subprocess, sys
print(subprocess.Popen([sys.executable, "-c", {SLEEP!r}]).pid, flush=True)
"""
    lab.create("pods", pod("family", python(parent), restartPolicy="Never"))
    lab.until_over("family")
    wait_until(lambda: start_ticks(int(lab.log("family"))) is None, 2, "the child has ended")


def test_hooks_and_init_containers_keep_their_order(lab: Lab) -> None:
    def say(word: str, **more: Any) -> Object:
        more.setdefault("command", ["sh", "-c", f'echo {word} >> "$HOME/order"; sleep 600'])
        return {"name": word, "image": IMAGE, **more}

    first = say("first", command=["sh", "-c", 'sleep 0.2; echo first >> "$HOME/order"'])
    helper = say("helper", restartPolicy="Always")
    hooks = {
        "postStart": {"exec": {"command": ["sh", "-c", 'sleep 0.5; echo hooked >> "$HOME/order"']}},
        "preStop": {"exec": {"command": ["sh", "-c", 'cp "$HOME/order" "$OUT"; sleep 600']}},
    }
    out = lab.cluster.state_path / f"order-{lab.namespace}"
    main = say("main", lifecycle=hooks, env=[{"name": "OUT", "value": str(out)}])
    spec = pod("order", main, say("last"), initContainers=[first, helper], terminationGracePeriodSeconds=1)
    lab.create("pods", spec)
    lab.until_ready("order")
    assert lab.container("order", "first")["state"]["terminated"]["reason"] == "Completed"
    assert "running" in lab.container("order", "helper")["state"]
    lab.delete("pods", "order")
    wait_until(lambda: not lab.exists("pods", "order"), 8, "the pod is gone")
    words = out.read_text().split()
    out.unlink()
    assert words[0] == "first"
    assert set(words[1:3]) <= {"helper", "main"}
    assert words[-2:] == ["hooked", "last"]


def test_an_unknown_image_waits_with_a_reason(lab: Lab) -> None:
    lab.create("pods", pod("other", {"name": "app", "image": "nginx:1"}))

    def reason() -> str:
        return str(lab.container("other")["state"].get("waiting", {}).get("reason"))

    wait_until(lambda: reason() == "ErrImageNeverPull", 5, "the image is refused")
    message = lab.container("other")["state"]["waiting"]["message"]
    assert "plain processes" in message
    assert "balance-lab/demo-app:dev" in message
    assert lab.get("pods", "other")["status"]["phase"] == "Pending"


def test_a_volume_that_cannot_be_mounted_is_refused_and_tmp_is_given(lab: Lab) -> None:
    show = python("import os; print(os.environ['TMPDIR'], flush=True)")
    tmp = {**show, "volumeMounts": [{"name": "v", "mountPath": "/tmp"}]}
    other = {**show, "volumeMounts": [{"name": "v", "mountPath": "/data"}]}
    volumes = [{"name": "v", "emptyDir": {}}]
    lab.create("pods", pod("tmp", tmp, volumes=volumes, restartPolicy="Never"))
    lab.create("pods", pod("data", other, volumes=volumes))
    assert lab.until_over("tmp")["status"]["phase"] == "Succeeded"
    assert lab.log("tmp").strip().endswith("/volumes/v")
    wait_until(lambda: "waiting" in lab.container("data")["state"], 5, "it waits")
    wait_until(
        lambda: "only an emptyDir at /tmp" in lab.container("data")["state"]["waiting"].get("message", ""),
        5,
        "a reason",
    )


def test_a_program_that_does_not_exist_is_said_plainly(lab: Lab) -> None:
    lab.create("pods", pod("typo", {"name": "app", "image": IMAGE, "command": ["pyhton"]}, restartPolicy="Never"))
    assert lab.until_over("typo")["status"]["phase"] == "Failed"
    ended = lab.container("typo")["state"]["terminated"]
    assert ended["reason"] == "StartError"
    assert "pyhton" in ended["message"]


def test_logs_can_be_followed_cut_and_stamped(lab: Lab) -> None:
    count = "import time\nfor i in range(20): print(i, flush=True); time.sleep(0.05)"
    lab.create("pods", pod("count", python(count), restartPolicy="Never"))
    wait_until(lambda: "0" in lab.log("count"), 5, "it has begun")
    assert lab.kubectl("logs", "-f", "count").split() == [str(i) for i in range(20)]
    assert lab.log("count", tailLines="2") == "18\n19\n"
    stamp, _, text = lab.log("count", tailLines="1", timestamps="true").strip().partition(" ")
    assert text == "19"
    assert stamp.endswith("Z")


def test_metrics_count_cpu_and_memory_of_a_pod_s_processes(lab: Lab) -> None:
    burn = "import os\nos.fork()\nwhile True: pass"
    lab.create("pods", pod("burner", python(burn)))
    page = "/api/v1/nodes/local/proxy/metrics/resource"

    def cpu() -> float:
        lines = lab.http.get(page).raise_for_status().text.splitlines()
        mine = [line for line in lines if f'namespace="{lab.namespace}",pod="burner"' in line]
        return next(float(line.split()[-2]) for line in mine if line.startswith("pod_cpu_usage"))

    wait_until(lambda: cpu() > 0.5, 10, "half a second of CPU is counted")
    text = lab.http.get(page).text
    memory = next(m for m in text.splitlines() if m.startswith("container_memory") and lab.namespace in m)
    assert float(memory.split()[-2]) > 2**20
    lab.delete("pods", "burner", gracePeriodSeconds=0)
