"""What one lab keeps on disk, and the lock that lets one command at a time change it.

$XDG_STATE_HOME/grpc-balance-lab/NAME.lock   held by `up` and `down` while they work
$XDG_STATE_HOME/grpc-balance-lab/NAME/       0700, files 0600
    instance     uuid that marks every process of this lab
    daemon.json  pid, start and addresses of the daemon, written when its API answers
    daemon.log   what the daemon says
    kubeconfig   CA and token of the cluster's administrator
    tls/  pods/  logs/  processes/
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import platformdirs

from lab.clusters.errors import BadClusterInput, ClusterBusy
from lab.clusters.local.certs import write_private
from lab.clusters.local.process import Recorded, Records, start_ticks

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


@dataclass(frozen=True)
class DaemonInfo:
    """The running daemon. started: clock ticks since boot, to tell it from a later process with its pid."""

    pid: int
    started: int
    x: int
    server: str

    def alive(self) -> bool:
        return start_ticks(self.pid) == self.started


@dataclass(frozen=True)
class StateDir:
    """The folder of one lab; nothing needs to exist yet."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def kubeconfig(self) -> Path:
        return self.path / "kubeconfig"

    @property
    def daemon_log(self) -> Path:
        return self.path / "daemon.log"

    @property
    def tls(self) -> Path:
        return self.path / "tls"

    @property
    def pods(self) -> Path:
        return self.path / "pods"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def processes(self) -> Path:
        return self.path / "processes"

    @property
    def context(self) -> str:
        return f"balance-lab-{self.name}"

    def exists(self) -> bool:
        return self.path.exists()

    def create(self) -> str:
        """Make the folders and a new instance mark, and return the mark."""
        for folder in (self.path, self.tls, self.pods, self.logs, self.processes):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)  # mkdir's mode passes through the umask, and the folder may be older
        instance = str(uuid.uuid4())
        write_private(self.path / "instance", instance)
        return instance

    def instance(self) -> str | None:
        try:
            return (self.path / "instance").read_text().strip() or None
        except OSError:
            return None

    def write_daemon(self, info: DaemonInfo) -> None:
        write_private(self.path / "daemon.json", json.dumps(asdict(info)))

    def daemon(self) -> DaemonInfo | None:
        """What the daemon wrote, if it came that far; it may be dead by now."""
        try:
            return DaemonInfo(**json.loads((self.path / "daemon.json").read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def recorded(self) -> list[Recorded]:
        return Records(self.processes).read()

    def log_tail(self, lines: int) -> list[str]:
        try:
            return self.daemon_log.read_text(errors="replace").splitlines()[-lines:]
        except OSError:
            return []

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


def state_dir(name: str) -> StateDir:
    """The folder for this lab name. Raises BadClusterInput when it cannot be one."""
    if not _NAME.fullmatch(name):
        raise BadClusterInput(
            f"--name {name!r} is not a lab name",
            "use up to 40 of a-z, 0-9 and -, beginning and ending with a letter or digit",
        )
    return StateDir(platformdirs.user_state_path("grpc-balance-lab", appauthor=False) / name)


@contextmanager
def exclusive(state: StateDir) -> Iterator[None]:
    """Hold the lab's lock, or raise ClusterBusy at once. The lock dies with its holder, so it cannot be left
    behind.
    """
    path = state.path.with_name(f"{state.name}.lock")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = _lock(path, state.name)
    try:
        yield
    finally:
        if not state.exists():
            path.unlink(missing_ok=True)
        os.close(handle)


def _lock(path: Path, name: str) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise ClusterBusy(
                f"another command is bringing the lab {name!r} up or down",
                "wait for it to finish, then try again",
            ) from None
        try:
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle
        except FileNotFoundError:
            pass
        os.close(handle)  # the holder before us removed the file while we opened it: lock the new one
