"""The local provider from outside: up, down, and nothing left over."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from kubernetes.client import CoreV1Api

from lab.clusters import BadClusterInput, ClusterError, open_cluster
from lab.clusters.errors import ClusterBusy, DidNotStart
from lab.clusters.local.process import MARK
from lab.clusters.local.provider import LocalCluster
from lab.clusters.local.state import exclusive
from tests.local.lab_support import Lab, pod, python, server
from tests.support import wait_until

# Takes 0.3 s to end, then leaves a file.
GOODBYE = """
import pathlib, signal, sys, time
def end(*_):
    time.sleep(0.3)
    pathlib.Path(sys.argv[1]).touch()
    sys.exit()
signal.signal(signal.SIGTERM, end)
print("up", flush=True)
time.sleep(60)
"""


def quiet(line: str) -> None:
    pass


def processes_of(instance: str) -> list[int]:
    """Every process with the lab's mark, found independently of the lab's own code."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            alive = " Z " not in (folder / "stat").read_text()
            if alive and f"{MARK}={instance}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def test_a_second_up_says_so_within_a_tenth_of_a_second(running_lab: Lab) -> None:
    again = LocalCluster(running_lab.cluster.name).up(quiet)
    assert again.already_up
    assert again.server == running_lab.server
    assert again.seconds < 0.1


def test_the_official_client_sees_a_ready_node(running_lab: Lab) -> None:
    with running_lab.cluster.api_client() as api:
        (node,) = CoreV1Api(api).list_node().items
        found = api.sanitize_for_serialization(node)
    assert found["metadata"]["name"] == "local"
    assert {c["type"]: c["status"] for c in found["status"]["conditions"]}["Ready"] == "True"
    assert int(found["status"]["capacity"]["cpu"]) == os.cpu_count()


def test_only_the_user_can_read_the_state(running_lab: Lab) -> None:
    root = running_lab.cluster.state_path
    for path in [root, *root.rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


def test_two_labs_share_nothing_and_end_alone(running_lab: Lab) -> None:
    other = LocalCluster(running_lab.cluster.name + "-b")
    report = other.up(quiet)
    try:
        assert report.server != running_lab.server
        second = Lab(other)
        second.create("pods", pod("alone", server()))
        address = second.until_ready("alone")["status"]["podIP"]
        assert address.split(".")[1] == report.server.split(".")[1]
        assert not running_lab.exists("pods", "alone")
        before = running_lab.cluster.status()
        second.http.close()
    finally:
        other.down(quiet)
    assert running_lab.cluster.status() == before
    assert other.status().state == "down"


def test_down_after_kill_9_leaves_no_process_and_no_state(state_home: Path) -> None:
    cluster = LocalCluster("crashed")
    cluster.up(quiet)
    lab = Lab(cluster)
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    lab.create("pods", pod("stubborn", python(stubborn, "a"), python("import time; time.sleep(600)", "b")))
    lab.until_ready("stubborn")
    instance = (cluster.state_path / "instance").read_text()
    assert len(processes_of(instance)) == 3
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        daemon = psutil.Process(int(cluster.status().detail.split()[-1]))
        daemon.send_signal(signal.SIGKILL)
        wait_until(lambda: cluster.status().state == "broken", 5, "the daemon is gone")
        report = cluster.down(quiet)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
    assert processes_of(instance) == []
    assert not cluster.state_path.exists()
    assert len(report.killed) == 2
    assert any("default/stubborn/a" in line for line in report.killed)
    assert cluster.down(quiet).nothing_to_do


def test_up_after_a_crash_clears_the_leftovers_first(state_home: Path) -> None:
    cluster = LocalCluster("reborn")
    cluster.up(quiet)
    try:
        lab = Lab(cluster)
        lab.create("pods", pod("old", server()))
        lab.until_ready("old")
        os.kill(int(cluster.status().detail.split()[-1]), signal.SIGKILL)
        wait_until(lambda: cluster.status().state == "broken", 5, "the daemon is gone")
        report = cluster.up(quiet)
        assert not report.already_up
        assert any("default/old/app" in line for line in report.cleaned)
        with Lab(cluster).http as http:
            assert http.get("/api/v1/pods").json()["items"] == []
    finally:
        cluster.down(quiet)


def test_down_gives_pods_their_grace(state_home: Path, tmp_path: Path) -> None:
    cluster = LocalCluster("graceful")
    cluster.up(quiet)
    try:
        lab = Lab(cluster)
        lab.create("pods", pod("polite", python(GOODBYE, args=[str(tmp_path / "bye")])))
        wait_until(lambda: "up" in lab.log("polite"), 5, "the program runs")
        lab.http.close()
    finally:
        report = cluster.down(quiet)
    assert (tmp_path / "bye").exists()
    assert not report.killed
    assert any("default/polite/app" in line for line in report.stopped)


def test_of_two_ups_at_once_one_gets_one_clear_line(state_home: Path) -> None:
    cluster = LocalCluster("contended")
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with exclusive(cluster._state):
            inside.set()
            leave.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert inside.wait(5)
        with pytest.raises(ClusterBusy, match="another command") as caught:
            LocalCluster("contended").up(quiet)
        assert "\n" not in str(caught.value)
    finally:
        leave.set()
        holder.join()
    assert not list(state_home.glob("grpc-balance-lab/contended*"))


def test_a_daemon_that_dies_is_reported_with_the_end_of_its_log(
    state_home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho the disk is made of cheese >&2\nexit 7\n")
    broken.chmod(0o755)
    cluster = LocalCluster("stillborn")
    monkeypatch.setattr(sys, "executable", str(broken))
    begun = time.monotonic()
    with pytest.raises(DidNotStart, match=r"exit code 7.*made of cheese"):
        cluster.up(quiet)
    assert time.monotonic() - begun < 5
    assert cluster.down(quiet).state_removed is not None


@pytest.mark.parametrize("name", ["", "Upper", "a/b", "..", "-a", "x" * 60])
def test_a_name_that_cannot_be_a_folder_or_context_is_refused(name: str) -> None:
    with pytest.raises(BadClusterInput, match="not a lab name"):
        open_cluster("local", name)


def test_what_is_not_there_says_what_to_use_instead(state_home: Path) -> None:
    with pytest.raises(BadClusterInput, match="use local, kind or context:NAME"):
        open_cluster("cloud", "x")
    with pytest.raises(ClusterError, match="not up; start it with: lab up"):
        open_cluster("local", "nobody").api_client()


def test_a_context_is_used_and_not_ended(running_lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(running_lab.cluster.kubeconfig_path))
    cluster = open_cluster(f"context:{running_lab.cluster.context}", "x")
    assert cluster.up(quiet).server == running_lab.server
    assert cluster.down(quiet).nothing_to_do
    assert running_lab.cluster.status().state == "up"
    with pytest.raises(BadClusterInput, match="no context 'nowhere'"):
        open_cluster("context:nowhere", "x").up(quiet)
