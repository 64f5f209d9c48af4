"""What a person may get wrong on the command line: one clear line, the documented exit code, no traceback."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

LAB = Path(sys.executable).with_name("lab")
MANIFEST = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {template: {spec: {containers: []}}}\n"


def lab(home: Path, *args: str, stdin: str = "", **env: str) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("BALANCE_LAB", "KUBE"))}
    done = subprocess.run(
        [str(LAB), *args],
        env={**clean, "XDG_STATE_HOME": str(home), "XDG_RUNTIME_DIR": str(home), **env},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("args", "stdin", "code", "says"),
    [
        (("scenario", "run", "99-nothing"), "", 2, "there is no scenario '99-nothing'; there are: 01-pinned"),
        (("inject",), "a: [1\n", 2, "line 2: not YAML"),
        (("inject",), "", 2, "there is no manifest"),
        (("inject",), "- 1\n- 2\n", 2, "a document is no manifest"),
        (("inject",), "kind: Service\n", 2, "there is no Deployment to inject into; found: Service"),
        (("inject",), MANIFEST, 2, "Deployment/web: has no spec.template.spec.containers"),
        (("inject", "/no/such/file"), "", 2, "cannot read /no/such/file: No such file or directory"),
        (("up", "--on", "moon"), "", 2, "--on 'moon' is not a cluster; use local, kind or context:NAME"),
        (("up", "--name", "../x"), "", 2, "name"),
        (("up", "--json", "/no/such/folder/x"), "", 2, "cannot write /no/such/folder/x"),
        (("verdict",), "", 2, "Missing argument 'SERVICE'"),
        (("verdict", "voting", "--margin", "3"), "", 2, "--margin"),
        (("verdict", "voting"), "", 3, "start it with: lab up"),
        (("stat",), "", 3, "start it with: lab up"),
        (("mesh", "sideways"), "", 2, "sideways"),
        (("mesh", "on"), "", 3, "start it with: lab up"),
        (("explode",), "", 2, "No such command 'explode'"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, tuple) else "",
)
def test_bad_input_is_one_line_with_its_exit_code(
    tmp_path: Path, args: tuple[str, ...], stdin: str, code: int, says: str
) -> None:
    got, out, err = lab(tmp_path, *args, stdin=stdin)
    assert (got, out) == (code, ""), err
    assert says in err
    assert err.count("\n") == 1, err
    assert err.startswith("lab: ")


def test_a_manifest_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00")
    code, _, err = lab(tmp_path, "inject", str(tmp_path / "x.yaml"))
    assert code == 2
    assert "is not UTF-8 text" in err


def test_a_dead_cluster_is_one_line_and_code_3(tmp_path: Path) -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        dead = s.getsockname()[1]
    config = tmp_path / "kubeconfig"
    config.write_text(
        f"""
apiVersion: v1
kind: Config
current-context: dead
clusters: [{{name: c, cluster: {{server: "http://127.0.0.1:{dead}"}}}}]
users: [{{name: u, user: {{token: t}}}}]
contexts: [{{name: dead, context: {{cluster: c, user: u}}}}]
"""
    )
    for args in (("up",), ("verdict", "voting"), ("status",)):
        code, _, err = lab(tmp_path, *args, "--on", "context:dead", KUBECONFIG=str(config))
        assert code == 3, err
        assert "Traceback" not in err
    code, _, err = lab(tmp_path, "verdict", "voting", "--on", "context:dead", KUBECONFIG=str(config))
    assert "is the cluster up?" in err or "answer" in err
    code, _, err = lab(tmp_path, "verdict", "voting", "--on", "context:other", KUBECONFIG=str(config))
    assert code == 2
    assert "dead" in err, "the contexts that exist are named"


def test_a_taken_port_is_one_line_and_code_3_and_nothing_is_left(tmp_path: Path) -> None:
    with socket.socket() as s:
        try:
            s.bind(("0.0.0.0", 6443))
        except OSError:
            pytest.skip("port 6443 is in use on this machine already, by a lab perhaps; end it with: lab down")
        s.listen()
        code, _, err = lab(tmp_path, "up", "--name", "in-the-way")
    assert code == 3
    assert "6443" in err
    assert "Traceback" not in err
    assert lab(tmp_path, "down", "--name", "in-the-way")[0] == 0
    assert not list(tmp_path.glob("grpc-balance-lab/*"))


def test_another_command_at_work_on_the_lab_is_one_line_and_code_3(tmp_path: Path) -> None:
    folder = tmp_path / "grpc-balance-lab"
    folder.mkdir()
    with (folder / "default.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for command in ("up", "down"):
            code, out, err = lab(tmp_path, command)
            assert (code, out) == (3, "")
            assert "another command is bringing the lab 'default' up or down; wait for it" in err
            assert err.count("\n") == 1, err


@pytest.mark.parametrize("command", ["up", "down", "status", "mesh", "inject", "verdict", "stat", "scenario run"])
def test_every_command_has_help_with_an_example(tmp_path: Path, command: str) -> None:
    code, out, _ = lab(tmp_path, *command.split(), "--help")
    assert code == 0
    assert "Example: " in out
