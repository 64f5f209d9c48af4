"""A machine that lacks something: `make` says in one line what and how to get it, before it builds anything."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parents[2] / "Makefile"
NEEDED = ("bash", "sh", "grep", "sed", "expand", "find", "mkdir", "touch", "test", "python3", "cargo", "cc", "env")


def make(tmp_path: Path, *args: str, without: str = "") -> subprocess.CompletedProcess[str]:
    """Runs make on a copy of the Makefile with a PATH that has only what is needed, less one program."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    for name in NEEDED:
        # A python3 on the PATH may be a version manager's script, which needs programs of its own.
        found = os.path.realpath(sys.executable) if name == "python3" else shutil.which(name)
        if found and name != without:
            (bin_ / name).symlink_to(found)
    for name in ("requirements.lock", "requirements-dev.lock", "pyproject.toml", "setup.py"):
        shutil.copy(MAKEFILE.with_name(name), tmp_path)
    (tmp_path / "proxy/src").mkdir(parents=True)
    (tmp_path / "demo_app/proto").mkdir(parents=True)
    for name in ("proxy/Cargo.toml", "proxy/Cargo.lock"):
        shutil.copy(MAKEFILE.parent / name, tmp_path / name)
    program = shutil.which("make")
    assert program
    command = [program, "-f", str(MAKEFILE), *args]
    env = {"PATH": str(bin_), "HOME": str(tmp_path)}
    return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("missing", "says"),
    [("cargo", "no cargo; install Rust"), ("cc", "no C compiler"), ("python3", "install Python 3.11 or newer")],
)
def test_a_missing_program_is_named_with_how_to_get_it(tmp_path: Path, missing: str, says: str) -> None:
    done = make(tmp_path, "lab-up", without=missing)
    said = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("make: ***")]
    assert done.returncode != 0
    assert len(said) == 1, said
    assert says in said[0]
    assert not (tmp_path / ".venv/bin/lab").exists()


def test_make_alone_lists_its_targets(tmp_path: Path) -> None:
    done = make(tmp_path)
    assert done.returncode == 0
    assert {"lab-up", "lab-down", "test"} <= {line.split()[0] for line in done.stdout.splitlines() if line}


def test_lab_down_on_a_machine_with_nothing_is_no_error(tmp_path: Path) -> None:
    done = make(tmp_path, "lab-down")
    assert (done.returncode, done.stdout.strip()) == (0, "nothing is installed, so nothing runs")
