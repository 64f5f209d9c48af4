"""Runs programs that people install themselves (docker, kind, cargo), with one line when one is missing or fails.

Knows how to start a program and tell of its end; nothing of what the programs do.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError

HOW_TO_GET = {
    "docker": "install Docker (on Debian: apt-get install docker.io), or use --on local, which needs none",
    "kind": "install kind (https://kind.sigs.k8s.io), or use --on local, which needs none",
    "cargo": "install Rust with rustup (https://rustup.rs)",
}


class ProgramFailure(LabError):
    """A program is missing, did not end in time, or (where `check` asks for it) ended with an error."""


@dataclass(frozen=True)
class Done:
    """How a program ended. out, err: what it wrote."""

    code: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """What it said of its failure: the first line that begins with "error", else the last one."""
        lines = [line.strip() for line in (self.err.strip() or self.out).splitlines() if line.strip()]
        if not lines:
            return f"exit code {self.code}"
        return next((line for line in lines if line.lower().startswith("error")), lines[-1])[:300]


def run(
    args: Sequence[str], *, timeout_s: float = 60.0, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> Done:
    """Run a program to its end. env: beside the own environment. Raises ProgramFailure: missing, not in time."""
    if shutil.which(args[0]) is None:
        raise ProgramFailure(f"there is no {args[0]} on this machine", HOW_TO_GET.get(args[0], "install it"))
    try:
        done = subprocess.run(
            list(args), cwd=cwd, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, errors="replace", timeout=timeout_s,
        )  # fmt: skip
    except subprocess.TimeoutExpired as e:
        raise ProgramFailure(f"{_what(args)} did not end within {timeout_s:.0f} s", "is the machine too busy?") from e
    return Done(done.returncode, done.stdout, done.stderr)


def check(
    args: Sequence[str], *, timeout_s: float = 60.0, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> str:
    """As `run`; what it wrote to standard output. Raises ProgramFailure also when it ends with an error."""
    done = run(args, timeout_s=timeout_s, cwd=cwd, env=env)
    if done.code != 0:
        raise ProgramFailure(f"{_what(args)} failed: {done.complaint}")
    return done.out


def _what(args: Sequence[str]) -> str:
    """The program and its command, if it has one: `docker build`, `kind create`, `sh`."""
    words = [a for a in args[1:2] if a.isalpha()]
    return " ".join([Path(args[0]).name, *words])
