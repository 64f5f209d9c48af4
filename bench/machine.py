"""Where and when it was measured, and with which versions."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
from pathlib import Path

from bench.measure import cores
from bench.tools import ROOT, TOOLS

_VERSION = {"ghz": "--version", "nginx": "-v", "haproxy": "-v", "envoy": "--version"}


def describe() -> dict[str, str]:
    """Name → value, in the order in which they are shown."""
    said = Path("/proc/cpuinfo").read_text()
    cpu = re.search(r"model name\s*: (.*)", said)
    virtual = ", a virtual machine" if re.search(r"^flags.* hypervisor", said, re.M) else ""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    proxy, other = cores()
    now = datetime.datetime.now(datetime.UTC)
    about = {
        "date": f"{now:%Y-%m-%d %H:%M} UTC",
        "commit": _said(["git", "-C", str(ROOT), "describe", "--always", "--dirty"]),
        "CPU": f"{cpu[1] if cpu else platform.machine()}, {os.cpu_count()} cores{virtual}",
        "memory": f"{memory:.0f} GiB",
        "kernel": platform.release(),
        "pinning": f"proxies on core {proxy}, load and back ends on core {other}",
    }
    for name in ("h2load", "nghttpd", "nghttpx", "haproxy", "nginx", "envoy", "ghz"):
        path = TOOLS[name].path() or os.environ.get(f"{name.upper()}_BIN")
        if path:
            about[name] = _said([path, _VERSION.get(name, "--version")])
    return about


def _said(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except OSError:
        return "?"
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0].strip() if lines else "?"
