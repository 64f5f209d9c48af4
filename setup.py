"""Build step that pyproject.toml cannot state: Python code from demo_app/proto/*.proto.

Runs in every kind of build (wheel, sdist, editable), before the packages are collected. Knows nothing of the
lab or the proxy; the Rust binary is built by setuptools-rust from pyproject.toml.
"""

from __future__ import annotations

import sys
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


class BuildPy(build_py):
    """The usual build_py, after the protos."""

    def run(self) -> None:
        generate()
        super().run()


setup(cmdclass={"build_py": BuildPy})
