"""What pods use, as the kubelet's /metrics/resource page tells it.

Names: https://kubernetes.io/docs/reference/instrumentation/node-metrics/ and
https://kubernetes.io/docs/reference/instrumentation/metrics/ (container_*, pod_*, node_*). CPU in seconds
since the container (for a pod: the pod) began, children included; memory is the resident set in bytes, where
pages that processes share count once per process, as a process has no cgroup to ask.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Subject:
    """A container to measure. session: its pid, which is its session's too; None when it does not run."""

    namespace: str
    pod: str
    container: str
    session: int | None
    cpu_seconds_before: float  # of its ended processes: a pod's counter must not go back at a restart


@dataclass
class Usage:
    cpu_seconds: float = 0.0
    memory_bytes: int = 0


def measure(sessions: set[int]) -> dict[int, Usage]:
    """session → what all its processes use together, in one walk over the machine's processes."""
    found = {session: Usage() for session in sessions}
    for pid in psutil.pids():
        try:
            usage = found.get(os.getsid(pid))
            if usage is None:
                continue
            process = psutil.Process(pid)
            with process.oneshot():
                cpu, memory = process.cpu_times(), process.memory_info()
        except (psutil.Error, OSError):
            continue  # ended meanwhile
        usage.cpu_seconds += cpu.user + cpu.system + cpu.children_user + cpu.children_system
        usage.memory_bytes += memory.rss
    return found


def render(subjects: Iterable[Subject]) -> str:
    """The page. A container that does not run has no samples of its own."""
    subjects = list(subjects)
    used = measure({s.session for s in subjects if s.session is not None})
    now = int(time.time() * 1000)
    page = _Page(now)
    pods: dict[tuple[str, str], Usage] = {}
    for s in subjects:
        usage = used.get(s.session, Usage()) if s.session is not None else Usage()
        pod = pods.setdefault((s.namespace, s.pod), Usage())
        pod.cpu_seconds += usage.cpu_seconds + s.cpu_seconds_before
        pod.memory_bytes += usage.memory_bytes
        if s.session is not None:
            labels = f'container="{s.container}",namespace="{s.namespace}",pod="{s.pod}"'
            page.add("container_cpu_usage_seconds_total", labels, usage.cpu_seconds)
            page.add("container_memory_working_set_bytes", labels, usage.memory_bytes)
    for (namespace, name), usage in pods.items():
        labels = f'namespace="{namespace}",pod="{name}"'
        page.add("pod_cpu_usage_seconds_total", labels, usage.cpu_seconds)
        page.add("pod_memory_working_set_bytes", labels, usage.memory_bytes)
    times = psutil.cpu_times()
    page.add("node_cpu_usage_seconds_total", "", times.user + times.system + times.nice)
    memory = psutil.virtual_memory()
    page.add("node_memory_working_set_bytes", "", memory.total - memory.available)
    page.add("resource_scrape_error", "", 0)
    return page.text()


_HELP = {
    "container_cpu_usage_seconds_total": "Cumulative cpu time consumed by the container in core-seconds",
    "container_memory_working_set_bytes": "Current working set of the container in bytes",
    "pod_cpu_usage_seconds_total": "Cumulative cpu time consumed by the pod in core-seconds",
    "pod_memory_working_set_bytes": "Current working set of the pod in bytes",
    "node_cpu_usage_seconds_total": "Cumulative cpu time consumed by the node in core-seconds",
    "node_memory_working_set_bytes": "Current working set of the node in bytes",
    "resource_scrape_error": "1 if there was an error while getting container metrics, 0 otherwise",
}


class _Page:
    """Lines of the Prometheus text format, grouped by metric as it demands."""

    def __init__(self, now_ms: int) -> None:
        self._now_ms = now_ms
        self._samples: dict[str, list[str]] = {name: [] for name in _HELP}

    def add(self, name: str, labels: str, value: float) -> None:
        stamp = "" if name == "resource_scrape_error" else f" {self._now_ms}"
        self._samples[name].append(f"{name}{'{' + labels + '}' if labels else ''} {value:.12g}{stamp}")

    def text(self) -> str:
        lines = []
        for name, samples in self._samples.items():
            kind = "counter" if name.endswith("_total") else "gauge"
            lines += [f"# HELP {name} [STABLE] {_HELP[name]}", f"# TYPE {name} {kind}", *samples]
        return "\n".join(lines) + "\n"
