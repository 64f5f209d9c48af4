"""The provider `local`, from outside: starts the daemon, finds it again, and ends all that belongs to it.

Everything `up` made is found without the daemon's help, so `down` works after a crash too: by the mark in the
processes' environment and by what was written down (`process.py`).
"""

from __future__ import annotations

import http.client
import os
import signal
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from lab.clusters.base import ClusterStatus, DownReport, Kind, Progress, UpReport
from lab.clusters.errors import ClusterError, DidNotStart, DidNotStop, NotAvailable
from lab.clusters.local.images import SYSTEM_PATH, source_path
from lab.clusters.local.process import MARK, Ended, end_all, find
from lab.clusters.local.state import DaemonInfo, StateDir, exclusive, state_dir

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

READY_DEADLINE_S = 20.0
STOP_DEADLINE_S = 20.0
"""The daemon gives pods 10 s, itself and open requests a few more."""

ORPHAN_GRACE_S = 3.0
_POLL_S = 0.03


class LocalCluster:
    """`--on local`: pods as processes of this machine. name: which lab; names do not disturb each other."""

    kind: Kind = "local"

    def __init__(self, name: str) -> None:
        self._state = state_dir(name)
        self.name = name
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def context(self) -> str:
        return self._state.context

    @property
    def kubeconfig_path(self) -> Path:
        return self._state.kubeconfig

    @property
    def state_path(self) -> Path:
        """The folder that holds everything of this lab on disk; gone after `down`."""
        return self._state.path

    def up(self, progress: Progress) -> UpReport:
        """Start the daemon unless it runs, and wait until its API is ready.

        Raises NotAvailable (not Linux), ClusterBusy, DidNotStart.
        """
        if sys.platform != "linux":
            raise NotAvailable("--on local needs Linux", "use --on context:NAME")
        begun = time.monotonic()
        with exclusive(self._state):
            info = self._running()
            if info is not None and _is_ready(self._state, info):
                progress(f"the lab {self.name!r} is already up at {info.server}")
                return UpReport(True, time.monotonic() - begun, info.server)
            cleaned: list[str] = []
            if self._state.exists():
                progress("clearing what an earlier run left")
                cleaned = [str(ended) for ended in self._end_everything(progress)[1]]
            progress("starting the cluster's daemon")
            info = self._start()
        progress(f"the API is ready at {info.server}")
        return UpReport(False, time.monotonic() - begun, info.server, tuple(cleaned))

    def load(self, images: list[str], progress: Progress) -> None:
        """Nothing: pods here are processes of this environment (`images.py`)."""

    def down(self, progress: Progress) -> DownReport:
        """End the daemon and every process of this lab, remove its state. Raises ClusterBusy, DidNotStop."""
        begun = time.monotonic()
        with exclusive(self._state):
            if not self._state.exists():
                return DownReport()
            stopped, killed = self._end_everything(progress)
        return DownReport(
            stopped=tuple(str(e) for e in stopped),
            killed=tuple(str(e) for e in killed),
            state_removed=self._state.path,
            seconds=time.monotonic() - begun,
        )

    def status(self) -> ClusterStatus:
        info = self._running()
        if info is not None and _is_ready(self._state, info):
            return ClusterStatus("up", f"daemon pid {info.pid}", info.server, {"kubeconfig": str(self.kubeconfig_path)})
        if self._state.exists():
            return ClusterStatus(
                "broken", "the daemon does not run, but parts of the lab are left; `lab down` clears them"
            )
        return ClusterStatus("down", "nothing of it runs")

    def api_client(self) -> ApiClient:
        if not self.kubeconfig_path.exists():
            raise ClusterError(f"the lab {self.name!r} is not up", "start it with: lab up")
        from kubernetes import (
            config,
        )  # here, because it takes longer to import than `up` needs to see a running lab

        client: ApiClient = config.new_client_from_config(  # type: ignore[no-untyped-call]
            config_file=str(self.kubeconfig_path), context=self.context
        )
        client.configuration.proxy = None  # never ask a proxy for a loopback address
        return client

    # Helpers

    def _running(self) -> DaemonInfo | None:
        info = self._state.daemon()
        return info if info is not None and info.alive() else None

    def _start(self) -> DaemonInfo:
        instance = self._state.create()
        environment = {
            "PATH": SYSTEM_PATH,
            "HOME": str(Path.home()),
            "LANG": "C.UTF-8",
            MARK: instance,
            **source_path("lab"),
        }
        handle = os.open(self._state.daemon_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "lab.clusters.local.daemon", "--state", str(self._state.path)],
                env=environment,
                cwd=self._state.path,
                stdin=subprocess.DEVNULL,
                stdout=handle,
                stderr=handle,
                start_new_session=True,
            )
        finally:
            os.close(handle)
        return self._until_ready(self._process)

    def _until_ready(self, process: subprocess.Popen[bytes]) -> DaemonInfo:
        def ready() -> DaemonInfo | None:
            if process.poll() is not None:
                raise DidNotStart(
                    f"the daemon ended with exit code {process.returncode}; its log ends: {self._log_end()}",
                    f"the whole log: {self._state.daemon_log}",
                )
            info = self._running()
            return info if info is not None and _is_ready(self._state, info) else None

        waiting = Retrying(
            stop=stop_after_delay(READY_DEADLINE_S),
            wait=wait_fixed(_POLL_S),
            retry=retry_if_result(lambda r: r is None),
        )
        try:
            info = waiting(ready)
        except RetryError as e:
            end_all(self._look, ORPHAN_GRACE_S)
            raise DidNotStart(
                f"the API was not ready within {READY_DEADLINE_S:g} s; the log ends: {self._log_end()}",
                f"the whole log: {self._state.daemon_log}",
            ) from e
        assert info is not None  # the retry condition
        return info

    def _log_end(self) -> str:
        return " | ".join(self._state.log_tail(5)) or "(empty)"

    def _look(self) -> dict[int, str]:
        instance = self._state.instance()
        return find(instance, self._state.recorded()) if instance else {}

    def _end_everything(self, progress: Progress) -> tuple[list[Ended], list[Ended]]:
        """(what ended when the daemon was asked to stop, what had to be ended here); then the state is
        removed.
        """
        before = self._look()
        info = self._running()
        if info is not None:
            progress(f"stopping {len(before)} processes")
            self._stop_daemon(info)
        rest = end_all(self._look, ORPHAN_GRACE_S)
        if self._process is not None:
            self._process.poll()  # reap it, if it was our child
        left = self._look()
        if left:
            raise DidNotStop(
                f"processes of the lab {self.name!r} do not end: {', '.join(map(str, left))}",
                "end them, then try again",
            )
        ended_here = {e.pid for e in rest}
        stopped = [Ended(pid, what, forced=False) for pid, what in before.items() if pid not in ended_here]
        self._state.remove()
        return stopped, rest

    def _stop_daemon(self, info: DaemonInfo) -> None:
        """Ask the daemon to end and wait; if it does not, the caller ends it like any other process."""
        try:
            os.kill(info.pid, signal.SIGTERM)
        except ProcessLookupError:
            return
        waiting = Retrying(
            stop=stop_after_delay(STOP_DEADLINE_S), wait=wait_fixed(_POLL_S), retry=retry_if_result(bool)
        )
        try:
            waiting(info.alive)
        except RetryError:
            pass


def _is_ready(state: StateDir, info: DaemonInfo) -> bool:
    """Whether GET /readyz answers 200."""
    host, _, port = info.server.removeprefix("https://").partition(":")
    try:
        context = ssl.create_default_context(cafile=str(state.tls / "ca.crt"))
        connection = http.client.HTTPSConnection(host, int(port), timeout=2, context=context)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        finally:
            connection.close()
    except (OSError, http.client.HTTPException):
        return False
