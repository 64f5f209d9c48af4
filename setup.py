"""Build steps that pyproject.toml cannot state: Python code from demo_app/proto/*.proto, a static proxy.

Runs in every kind of build (wheel, sdist, editable), before the packages are collected. Knows nothing of the
lab or the proxy; the Rust binary is built by setuptools-rust from pyproject.toml.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
PROTO = ROOT / "demo_app" / "proto"


def generate() -> None:
    """Write *_pb2.py, *_pb2.pyi and *_pb2_grpc.py beside each .proto that is newer than them."""
    from grpc_tools import protoc

    stale = []
    for proto in sorted(PROTO.glob("*.proto")):
        made = [proto.with_name(proto.stem + end) for end in ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py")]
        if not all(m.exists() and m.stat().st_mtime >= proto.stat().st_mtime for m in made):
            stale.append(str(proto.relative_to(ROOT)))
    if not stale:
        return
    out = [f"--{kind}={ROOT}" for kind in ("python_out", "pyi_out", "grpc_python_out")]
    if protoc.main(["protoc", f"-I{ROOT}", *out, *(str(ROOT / s) for s in stale)]) != 0:
        sys.exit(f"could not generate code from {', '.join(stale)}")


def link_statically() -> None:
    """Have cargo link the proxy with the C library inside, if there is a static one.

    One file then runs in any image, and takes a third less memory, which was libc's and the loader's. A target is
    named because flags without one would reach procedural macros too, which cannot be static.
    """
    if sys.platform != "linux" or {"RUSTFLAGS", "CARGO_BUILD_TARGET"} & os.environ.keys():
        return
    try:
        told = subprocess.run(["rustc", "-vV"], capture_output=True, text=True, check=True).stdout
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "x.c")
            source.write_text("int main(void) { return 0; }\n")
            subprocess.run(["cc", "-static-pie", "-o", f"{folder}/x", source], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return
    if host := re.search(r"^host: (.*-gnu)$", told, re.M):
        os.environ["CARGO_BUILD_TARGET"] = host[1]
        os.environ["RUSTFLAGS"] = "-C target-feature=+crt-static"


class BuildPy(build_py):
    """The usual build_py, after the protos."""

    def run(self) -> None:
        generate()
        super().run()


link_statically()
setup(cmdclass={"build_py": BuildPy})
