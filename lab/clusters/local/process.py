"""Finding and ending the processes of one lab, and nothing else.

Two marks, so that a crash of the daemon loses nobody: every process inherits BALANCE_LAB_INSTANCE=<uuid> in
its environment, and each started process is recorded with its start time (a pid alone may be somebody else's
by now). Must not know: pods, the API, the daemon's insides.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

MARK = "BALANCE_LAB_INSTANCE"


@dataclass(frozen=True)
class Recorded:
    """A process as it was written down. started: clock ticks since boot (field 22 of proc_pid_stat(5))."""

    pid: int
    started: int
    what: str

    def alive(self) -> bool:
        return start_ticks(self.pid) == self.started


@dataclass(frozen=True)
class Ended:
    """A process that was ended. forced: it took SIGKILL."""

    pid: int
    what: str
    forced: bool

    def __str__(self) -> str:
        return f"pid {self.pid}: {self.what}"


class Records:
    """The written-down processes: one small file each in a folder, named by pid."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, pid: int, what: str) -> None:
        ticks = start_ticks(pid)
        if ticks is not None:  # else it is gone already
            (self._folder / str(pid)).write_text(f"{ticks} {what}")

    def discard(self, pid: int) -> None:
        (self._folder / str(pid)).unlink(missing_ok=True)

    def read(self) -> list[Recorded]:
        found = []
        for file in self._folder.glob("[0-9]*"):
            ticks, _, what = _text(file).partition(" ")
            if ticks.isdigit():
                found.append(Recorded(int(file.name), int(ticks), what))
        return found


def start_ticks(pid: int) -> int | None:
    """When a process began, in clock ticks since boot; None if it is gone or only waits to be reaped."""
    stat = _text(Path(f"/proc/{pid}/stat"))
    fields = stat.rpartition(")")[2].split()  # the name before ")" may hold anything
    if len(fields) < 20 or fields[0] in ("Z", "X"):
        return None
    return int(fields[19])


def find(instance: str, recorded: Iterable[Recorded]) -> dict[int, str]:
    """Every living process of the lab: pid → what it is. Never this process itself."""
    known = {r.pid: r.what for r in recorded if r.alive()}
    found = dict(known)
    for process in psutil.process_iter():
        try:
            if process.pid not in known and process.environ().get(MARK) == instance:
                found[process.pid] = " ".join(process.cmdline())[:80] or process.name()
        except psutil.Error:
            continue  # gone, or another user's
    found.pop(os.getpid(), None)
    return {pid: what for pid, what in found.items() if start_ticks(pid) is not None}


def end_all(look: Callable[[], dict[int, str]], grace_s: float) -> list[Ended]:
    """End every process that `look` finds: SIGTERM, up to grace_s seconds, SIGKILL; then look again for new
    ones.

    Gives up after three rounds; the caller looks once more to know.
    """
    ended: dict[int, Ended] = {}
    for _ in range(3):
        found = look()
        if not found:
            break
        processes = []
        for pid, what in found.items():
            try:
                process = psutil.Process(pid)
                process.send_signal(signal.SIGTERM)
                processes.append(process)
                ended[pid] = Ended(pid, what, forced=False)
            except psutil.Error:
                continue
        _, alive = psutil.wait_procs(processes, timeout=grace_s)
        for process in alive:
            try:
                process.kill()
                ended[process.pid] = Ended(process.pid, found[process.pid], forced=True)
            except psutil.Error:
                continue
        psutil.wait_procs(alive, timeout=5)
    return list(ended.values())


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
