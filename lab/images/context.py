"""What goes into an image, gathered in a folder: the same commit gives the same bytes.

    ewma-proxy   the static binary (cargo, +crt-static)
    demo-app     demo_app/ with its generated code, and the wheels it needs, by hash

All files get one time, so that the layers made of them are alike. Knows cargo and pip; nothing of docker.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from lab.images.errors import ImageFailure
from lab.programs import check

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
LOCK = HERE / "demo-app.lock"
EPOCH = 1_577_836_800
"""2020-01-01: files' time in the images. Not 1970, which zip files cannot tell."""

MAX_PROXY_BYTES = 12 << 20
COMPILE_S, FETCH_S = 900.0, 600.0
Progress = Callable[[str], None]


def ewma_proxy(into: Path, progress: Progress) -> None:
    """The static binary, as `make static` builds it. Raises ProgramFailure: no cargo or C library, it does not compile
    or is not static; ImageFailure: it is too large.
    """
    _need_checkout()
    progress("compiling a static ewma-proxy (the first time a minute or two)")
    check([str(ROOT / "scripts/static-binary")], timeout_s=COMPILE_S)
    binary = ROOT / "build/static/ewma-proxy"
    if binary.stat().st_size > MAX_PROXY_BYTES:
        raise ImageFailure(f"{binary} has {binary.stat().st_size >> 20} MB, more than it may")
    shutil.copy(binary, into / "ewma-proxy")
    _same_time(into)


def demo_app(into: Path, progress: Progress, python: str = "3.11") -> None:
    """The app and its wheels for CPython `python` on Linux. Raises ImageFailure."""
    _need_checkout()
    shutil.copytree(
        ROOT / "demo_app", into / "demo_app", ignore=shutil.ignore_patterns("__pycache__", "*.pyi", "*.proto")
    )
    if not (into / "demo_app/proto/voting_pb2.py").exists():
        raise ImageFailure("demo_app/proto has no generated code", "run: make lab-up, or pip install --editable .")
    wheels = into / "wheels"
    wheelhouse = ROOT / "build/wheelhouse" / hashlib.sha256(LOCK.read_bytes() + python.encode()).hexdigest()[:12]
    if not (wheelhouse / "complete").exists():
        progress("fetching the demo app's wheels")
        machine = os.uname().machine
        platforms = [f"manylinux_2_{n}_{machine}" for n in (17, 24, 26, 27, 28, 31, 34)] + [f"manylinux2014_{machine}"]
        check(
            [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--require-hashes",
             "--no-deps", "--only-binary=:all:", "--implementation", "cp", "--python-version", python,
             *(f"--platform={p}" for p in platforms), "--dest", str(wheelhouse), "-r", str(LOCK)],
            timeout_s=FETCH_S,
        )  # fmt: skip
        (wheelhouse / "complete").touch()
    shutil.copytree(wheelhouse, wheels, ignore=shutil.ignore_patterns("complete"))
    _same_time(into)


def digest(folder: Path) -> str:
    """16 hexadecimal digits that stand for all names, modes and bytes in a folder."""
    sum_ = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        sum_.update(f"{path.relative_to(folder)}\0{path.stat().st_mode & 0o777:o}\0".encode())
        sum_.update(hashlib.sha256(path.read_bytes()).digest())
    return sum_.hexdigest()[:16]


def _same_time(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
        os.utime(path, (EPOCH, EPOCH))


def _need_checkout() -> None:
    if not (ROOT / "proxy/Cargo.toml").exists():
        raise ImageFailure(f"images are built from a checkout of the project, and {ROOT} is none", "git clone it first")
