"""What a process uses: CPU time and memory, from /proc. Linux only. Knows nothing of what the process does."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Memory:
    """KiB. `anon`: heap and stacks; `rss` counts the pages of the program's file too; `peak`: the most `rss` was."""

    rss: int
    peak: int
    anon: int


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    try:
        children = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return [pid]
    return [pid, *(c.pid for c in children)]


def cpu_ns(pid: int) -> int:
    """CPU time of a process and its descendants, ns: what the scheduler has counted for each thread."""
    total = 0
    for one in family(pid):
        for task in Path(f"/proc/{one}/task").glob("*/schedstat"):
            try:
                total += int(task.read_text().split()[0])
            except OSError:  # the thread has ended meanwhile
                continue
    return total


def parse_status(text: str) -> Memory:
    """Memory by /proc/PID/status."""
    found = {k: int(v) for k, v in re.findall(r"^(Vm\w+|Rss\w+):\s+(\d+) kB", text, re.M)}
    return Memory(rss=found["VmRSS"], peak=found["VmHWM"], anon=found["RssAnon"])


def memory(pid: int) -> Memory:
    """Memory of a process and its descendants together. Pages that they share count for each."""
    each = [parse_status(Path(f"/proc/{one}/status").read_text()) for one in family(pid)]
    return Memory(sum(m.rss for m in each), sum(m.peak for m in each), sum(m.anon for m in each))


def reset_peak(pid: int) -> None:
    """The peak counts from now on (proc(5), clear_refs)."""
    for one in family(pid):
        Path(f"/proc/{one}/clear_refs").write_text("5")


def cores() -> tuple[int, int]:
    """The core of the proxies, and that of load and back ends."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise OSError("two cores are needed, one for the proxy and one for load and back ends; here is one")
    return allowed[0], allowed[1]
