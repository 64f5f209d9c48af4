"""The kind provider's words and names, and the images' contexts, without docker."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.clusters import BadClusterInput, open_cluster
from lab.clusters.errors import DidNotStart, NotAvailable
from lab.clusters.kind import KindCluster, _not_created
from lab.images import context
from lab.images.build import NAMES
from lab.manifests import IMAGES
from lab.programs import Done, ProgramFailure, check, run

LAB = Path(sys.executable).with_name("lab")


@pytest.mark.parametrize(
    ("said", "kind", "hint"),
    [
        ('ERROR: failed to create cluster: failed to pull image "kindest/node:v9"', NotAvailable, "lab images node"),
        ("ERROR: docker: Bind for 0.0.0.0:80 failed: port is already allocated.", DidNotStart, "ss -ltnp"),
        ("inotify_init: too many open files", DidNotStart, "sysctl fs.inotify"),
        ("write /x: no space left on device", DidNotStart, "docker system df"),
        ("ERROR: something else", DidNotStart, "docker ps"),
    ],
)
def test_what_kind_complains_of_is_one_line_with_what_to_do(said: str, kind: type[Exception], hint: str) -> None:
    error = _not_created(Done(1, "", f"Creating cluster ...\n{said}\n"))
    assert type(error) is kind
    assert hint in str(error)
    assert "\n" not in str(error)


def test_two_labs_on_kind_have_clusters_and_kubeconfigs_of_their_own() -> None:
    one, two = KindCluster("default"), KindCluster("two")
    assert (one.cluster, one.context) == ("balance-lab", "kind-balance-lab")
    assert (two.cluster, two.context) == ("balance-lab-two", "kind-balance-lab-two")
    assert one.kubeconfig_path != two.kubeconfig_path
    embedded = open_cluster("local", "kind-two").kubeconfig_path
    assert embedded.parent != two.kubeconfig_path.parent
    with pytest.raises(BadClusterInput):
        open_cluster("local", two.kubeconfig_path.parent.name)
    assert Path.home() / ".kube" / "config" not in (one.kubeconfig_path, two.kubeconfig_path)


@pytest.mark.parametrize("name", ["Upper", "a_b", "", "x" * 31, "a/b", "é", "-a", "a-"])
def test_a_name_that_cannot_name_a_cluster_is_refused(name: str) -> None:
    with pytest.raises(BadClusterInput):
        open_cluster("kind", name)


def test_a_machine_without_docker_is_told_so_in_one_line_and_exit_code_3(tmp_path: Path) -> None:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("BALANCE_LAB", "KUBE"))}
    env |= {"PATH": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)}
    for command in (["up", "--on", "kind"], ["images", "load", "x.tar"], ["down", "--on", "kind"]):
        (tmp_path / "x.tar").touch()
        done = subprocess.run([str(LAB), *command], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        errors = [line for line in done.stderr.splitlines() if line.startswith("lab:")]
        assert done.returncode == 3, done.stderr
        assert len(errors) == 1, done.stderr
        assert "install" in errors[0]


def test_a_program_that_fails_is_told_by_the_line_that_says_error() -> None:
    with pytest.raises(ProgramFailure, match="sh failed: error: no such thing"):
        check(["sh", "-c", "echo working; echo 'error: no such thing' >&2; echo bye >&2; exit 1"])
    with pytest.raises(ProgramFailure, match=r"did not end within 0 s"):
        run(["sh", "-c", "read forever < /dev/zero"], timeout_s=0.2)


def test_the_images_that_are_built_are_those_that_the_manifests_name() -> None:
    assert NAMES == IMAGES


def test_a_context_has_the_same_digest_whenever_it_is_made_and_another_for_other_bytes(tmp_path: Path) -> None:
    made = []
    for name in ("a", "b"):
        folder = tmp_path / name
        (folder / "sub").mkdir(parents=True)
        (folder / "sub" / "file").write_text("x")
        made.append(folder)
    assert context.digest(made[0]) == context.digest(made[1])
    (made[1] / "sub" / "file").write_text("y")
    assert context.digest(made[0]) != context.digest(made[1])


def test_the_demo_apps_lock_pins_every_requirement_with_a_hash_and_agrees_with_the_labs() -> None:
    def pins(path: Path) -> dict[str, str]:
        lines = [line.split(" ")[0] for line in path.read_text().splitlines() if "==" in line and line[0].isalnum()]
        return dict(line.rstrip(";").split("==", 1) for line in lines)

    own, lab = pins(context.LOCK), pins(context.ROOT / "requirements.lock")
    assert {"grpcio", "starlette", "uvicorn", "prometheus-client", "protobuf"} <= set(own)
    assert all(lab.get(name) == version for name, version in own.items())
    assert context.LOCK.read_text().count("--hash=sha256:") >= len(own)
