"""The main job on a real Kubernetes: the same commands, the same manifests, redirect rules instead of addresses.

Not part of `make test` yet (marker `kind`): it wants a docker daemon. Run it with: make test-kind KIND_IMAGE=…
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

LAB = Path(sys.executable).with_name("lab")
NAME = "pytest"

pytestmark = pytest.mark.kind


def missing() -> str:
    """What this tier lacks here, and how to get it; "" if nothing."""
    for program in ("docker", "kind", "kubectl"):
        if shutil.which(program) is None:
            return f"there is no {program}; install it, or on Debian 12 as root: lab images node"
    if subprocess.run(["docker", "info"], capture_output=True, timeout=30).returncode != 0:
        return "docker does not answer; start dockerd"
    return ""


def lab(*args: str, timeout_s: float = 400) -> subprocess.CompletedProcess[str]:
    command = [str(LAB), *args, "--on", "kind", "--name", NAME]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)


@pytest.fixture(scope="module")
def up() -> Iterator[dict[str, object]]:
    """Both reports of `lab up --on kind`; the cluster is deleted in the end unless KEEP_CLUSTER is set."""
    why = missing()
    if why:
        pytest.skip(why)
    try:
        done = lab("up", "--json", "-")
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        yield json.loads(done.stdout[done.stdout.rindex('\n{\n  "pinned"') :])
    finally:
        if not os.environ.get("KEEP_CLUSTER"):
            lab("down")


def kubectl(*args: str) -> str:
    status = json.loads(lab("status", "--json", "-").stdout)
    command = ["kubectl", "--kubeconfig", status["kubeconfig"], "-n", "balance-lab", *args]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def bot() -> dict[str, float]:
    """What the bot's metrics say of its calls, by code."""
    pods = json.loads(kubectl("get", "pods", "-l", "app=bot", "-o", "json"))["items"]
    running = [p["metadata"]["name"] for p in pods if not p["metadata"].get("deletionTimestamp")]
    page = kubectl("get", "--raw", f"/api/v1/namespaces/balance-lab/pods/{running[0]}:9100/proxy/metrics")
    counts: dict[str, float] = {}
    for line in page.splitlines():
        found = re.match(r'bot_requests_total\{code="([^"]*)".*\} ([\d.e+]+)$', line)
        if found:
            counts[found[1]] = counts.get(found[1], 0) + float(found[2])
    return counts


def test_pinned_without_and_even_with_the_sidecar_on_a_real_cluster(up: dict[str, dict[str, object]]) -> None:
    pinned, even = up["pinned"], up["even"]
    assert (pinned["verdict"], pinned["cluster"], pinned["mesh"]) == ("pinned", "kind", False)
    assert (even["verdict"], even["cluster"], even["mesh"]) == ("even", "kind", True)
    assert even["sources"]["agree"], even["sources"]  # type: ignore[index]


def test_a_rolling_restart_and_scaling_up_and_down_lose_no_call(up: dict[str, object]) -> None:
    before = bot()
    kubectl("rollout", "restart", "deployment/voting")
    kubectl("rollout", "status", "deployment/voting", "--timeout=100s")
    for replicas in (6, 2, 3):
        kubectl("scale", "deployment/voting", f"--replicas={replicas}")
        kubectl("rollout", "status", "deployment/voting", "--timeout=100s")
    after = bot()
    assert after["OK"] > before["OK"]
    # INTERNAL is the failure that is there to be found.
    lost = {code: n - before.get(code, 0) for code, n in after.items() if code not in ("OK", "INTERNAL")}
    assert not any(lost.values()), lost


def test_the_proxys_token_reads_services_and_endpointslices_of_its_namespace_and_nothing_else(
    up: dict[str, object],
) -> None:
    who = "--as=system:serviceaccount:balance-lab:bot"

    def can(verb: str, what: str, namespace: str = "balance-lab") -> str:
        status = json.loads(lab("status", "--json", "-").stdout)
        command = ["kubectl", "--kubeconfig", status["kubeconfig"], "auth", "can-i", verb, what, "-n", namespace, who]
        return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout.strip()

    assert can("watch", "services") == can("list", "endpointslices.discovery.k8s.io") == "yes"
    assert can("get", "secrets") == can("list", "pods") == can("list", "services", "kube-system") == "no"
