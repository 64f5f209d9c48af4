"""Finds the pods of a Service and their clients' sidecars, scrapes all at once, waits, scrapes again.

Everything goes through the API server (pod proxy, node proxy), so it works on every cluster and needs no
port-forward. Knows the Kubernetes API; nothing of who provides it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime

from lab.errors import ApiFailure, BadInput, LabError
from lab.kube import Kube, Object
from lab.measure.sample import Sample, deltas, is_ok, quantiles, routes
from lab.measure.scrape import GRPC, SIDECAR, Counters, MetricNames, parse

Progress = Callable[[str], None]

SIDECAR_CONTAINER = "ewma-proxy"
SIDECAR_PORT = 9191
_THREADS = 16


@dataclass(frozen=True)
class Window:
    """What to measure and how long. Times in seconds."""

    namespace: str
    service: str
    seconds: float = 10.0
    warm_up: float = 2.0
    port: int = 9100
    path: str = "/metrics"
    metrics: MetricNames = GRPC


@dataclass
class _Moment:
    """All scrapes of one moment."""

    at: float
    pods: dict[str, Counters] = field(default_factory=dict)
    sidecars: dict[str, dict[str, Counters]] = field(default_factory=dict)
    cpu: dict[str, float] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)


def measure(kube: Kube, window: Window, progress: Progress = lambda line: None) -> Sample:
    """Measure a Service's pods over a window.

    Raises BadInput (no such Service), LabError (no ready pod, no metrics), ApiFailure.
    """
    pods = ready_pods(kube, window)
    if window.warm_up:
        progress(f"warming up for {window.warm_up:g} s")
        _sleep(window.warm_up)
    started = datetime.now(UTC)
    before = _scrape(kube, window)
    progress(f"counting the requests of {len(pods)} pods for {window.seconds:g} s")
    _sleep(window.seconds)
    after = _scrape(kube, window)
    notes = [f"{pod} gave no metrics" for pod in sorted({*before.unread, *after.unread})]
    # Without a beginning their counters hold all their life, not the window.
    after.pods = {pod: c for pod, c in after.pods.items() if pod not in before.unread}
    after.sidecars = {pod: c for pod, c in after.sidecars.items() if _sidecar(pod) not in before.unread}
    if not after.pods:
        why = notes[0] if notes else "no pod is ready"
        raise LabError(f"nothing to count for {window.namespace}/{window.service}: {why}")
    counted = deltas(before.pods, after.pods, notes, "pod")
    seconds = after.at - before.at
    return Sample(
        counts={pod: c.total() for pod, c in sorted(counted.items())},
        errors=_errors(counted),
        latency={pod: quantiles([c]) for pod, c in counted.items()},
        cpu_s={pod: after.cpu[pod] - before.cpu[pod] for pod in counted if pod in after.cpu and pod in before.cpu},
        routes=routes(counted.values(), seconds),
        sidecars=_sidecar_counts(before, after),
        window_s=seconds,
        started=started,
        notes=tuple(notes),
    )


def ready_pods(kube: Kube, window: Window) -> list[Object]:
    """The Service's pods that are ready now."""
    service = kube.get("Service", window.namespace, window.service)
    if service is None:
        names = ", ".join(sorted(s["metadata"]["name"] for s in kube.list("Service", window.namespace))) or "none"
        raise BadInput(
            f"there is no Service {window.service!r} in namespace {window.namespace!r}",
            f"Services there: {names}",
        )
    selector = (service.get("spec") or {}).get("selector") or {}
    if not selector:
        raise BadInput(f"the Service {window.service!r} selects no pods", "its endpoints are kept by somebody else")
    return [p for p in kube.list("Pod", window.namespace, selector) if is_ready(p)]


def is_ready(pod: Object) -> bool:
    """Ready, and not on its way out."""
    conditions = (pod.get("status") or {}).get("conditions") or []
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    return ready and not pod["metadata"].get("deletionTimestamp")


def has_sidecar(pod: Object) -> bool:
    return any(c["name"] == SIDECAR_CONTAINER for c in (pod.get("spec") or {}).get("containers") or [])


def _scrape(kube: Kube, window: Window) -> _Moment:
    """One moment's counters. All pods are asked at once, so that they are asked of one moment."""
    ns = window.namespace
    pods = ready_pods(kube, window)
    meshed = [p for p in kube.list("Pod", ns) if has_sidecar(p) and is_ready(p)]
    nodes = sorted({p["spec"].get("nodeName", "") for p in pods} - {""})
    moment = _Moment(time.monotonic())
    with ThreadPoolExecutor(_THREADS) as pool:
        pages = {_name(p): pool.submit(kube.pod_http, ns, _name(p), window.port, window.path) for p in pods}
        sides = {_name(p): pool.submit(kube.pod_http, ns, _name(p), SIDECAR_PORT, "/metrics") for p in meshed}
        usage = [pool.submit(_node_cpu, kube, node, ns) for node in nodes]
        for pod, page in pages.items():
            try:
                moment.pods[pod] = parse(page.result(), window.metrics).get("", Counters())
            except ApiFailure:
                moment.unread.append(pod)
        for pod, page in sides.items():
            try:
                moment.sidecars[pod] = parse(page.result(), SIDECAR, _endpoint_of(ns, window.service))
            except ApiFailure:
                moment.unread.append(_sidecar(pod))
        for cpu in usage:
            moment.cpu.update(cpu.result())
    return moment


def _name(pod: Object) -> str:
    return str(pod["metadata"]["name"])


def _sidecar(pod: str) -> str:
    return f"the sidecar of {pod}"


def _endpoint_of(namespace: str, service: str) -> Callable[[Mapping[str, str]], str | None]:
    """Labels of a sidecar's metric → the pod that served, if it is one of this Service."""
    prefix = f"{namespace}/{service}:"

    def of(labels: Mapping[str, str]) -> str | None:
        return labels.get("pod") if labels.get("service", "").startswith(prefix) else None

    return of


def _sidecar_counts(before: _Moment, after: _Moment) -> dict[str, int] | None:
    """Requests per serving pod, summed over all sidecars; None if there is no sidecar."""
    if not after.sidecars:
        return None
    sums: dict[str, int] = {}
    for client, by_pod in after.sidecars.items():
        for pod, n in deltas(before.sidecars.get(client, {}), by_pod, [], "endpoint").items():
            if pod:
                sums[pod] = sums.get(pod, 0) + n.total()
    return sums


def _errors(counted: Mapping[str, Counters]) -> dict[str, int]:
    errors: dict[str, int] = {}
    for c in counted.values():
        for (_, code), n in c.requests.items():
            if n and not is_ok(code):
                errors[code] = errors.get(code, 0) + n
    return dict(sorted(errors.items()))


_CPU = re.compile(r"^pod_cpu_usage_seconds_total\{(?P<labels>[^}]*)\}\s+(?P<value>\S+)", re.M)


def _node_cpu(kube: Kube, node: str, namespace: str) -> dict[str, float]:
    """CPU seconds per pod from the kubelet; nothing where that may not be read (one namespace's rights)."""
    try:
        text = kube.call("GET", f"/api/v1/nodes/{node}/proxy/metrics/resource")
    except ApiFailure:
        return {}
    found = {}
    for match in _CPU.finditer(text):
        labels = dict(re.findall(r'(\w+)="([^"]*)"', match["labels"]))
        if labels.get("namespace") == namespace and "pod" in labels:
            found[labels["pod"]] = float(match["value"])
    return found


def _sleep(seconds: float) -> None:
    time.sleep(seconds)
