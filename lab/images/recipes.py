"""Runs the recipes that make a node image and a Python base from Debian packages, where no registry answers.

The recipes (debian/node, debian/base) install system packages and start dockerd: only on this explicit request.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from lab.errors import LabError

HOME = Path(__file__).resolve().parent / "debian"


def run(name: str) -> None:
    """Run a recipe to its end; what it says goes to our own output. Raises LabError: not root, no Debian, it failed."""
    if os.geteuid() != 0:
        raise LabError(f"lab images {name} installs packages and so must run as root", "run it with sudo")
    if shutil.which("apt-get") is None:
        raise LabError(f"lab images {name} works with Debian packages and here is no apt-get", "use Debian 12")
    done = subprocess.run(["bash", str(HOME / name / "build")], stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise LabError(f"the recipe {name} failed with exit code {done.returncode}", "its last line tells why")
