"""Prometheus text → the counters that matter here. Knows the text format and names of metrics, nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from lab.errors import LabError

Key = tuple[str, str]
"""(route, code)"""


@dataclass(frozen=True)
class MetricNames:
    """Which metrics to read. total: a counter of requests; duration: a histogram, seconds."""

    total: str
    duration: str
    route: str
    code: str


GRPC = MetricNames("grpc_server_handled_total", "grpc_server_handling_seconds", "grpc_method", "grpc_code")
"""go-grpc-prometheus' names, which most gRPC servers use."""

SIDECAR = MetricNames("ewma_proxy_requests_total", "ewma_proxy_request_duration_seconds", "route", "code")


@dataclass
class Counters:
    """What one source has counted so far.

    requests: (route, code) → n. buckets: route → upper bound in seconds → n at or below it.
    """

    requests: Counter[Key] = field(default_factory=Counter)
    buckets: dict[str, Counter[float]] = field(default_factory=dict)

    def minus(self, earlier: Counters) -> Counters | None:
        """What was added since; None if a counter went down, so the source began anew."""
        if any(self.requests[k] < n for k, n in earlier.requests.items()):
            return None
        requests = Counter({k: n - earlier.requests[k] for k, n in self.requests.items() if n > earlier.requests[k]})
        buckets = {}
        for route, bounds in self.buckets.items():
            before = earlier.buckets.get(route, Counter())
            buckets[route] = Counter({le: n - before[le] for le, n in bounds.items()})
        return Counters(requests, buckets)

    def total(self) -> int:
        return sum(self.requests.values())


def parse(
    text: str, names: MetricNames, by: Callable[[Mapping[str, str]], str | None] = lambda labels: ""
) -> dict[str, Counters]:
    """Counters of one page, told apart by what `by` makes of the labels (None: leave out).

    Raises LabError if it is no Prometheus text.
    """
    found: dict[str, Counters] = {}
    counter = names.total.removesuffix("_total")
    try:
        for family in text_string_to_metric_families(text):
            if family.name not in (counter, names.total, names.duration):
                continue
            for s in family.samples:
                who = by(s.labels)
                if who is None:
                    continue
                c = found.setdefault(who, Counters())
                route = s.labels.get(names.route, "")
                # The parser gives every counter the suffix, whether the page has it or not.
                if s.name in (names.total, f"{counter}_total"):
                    c.requests[route, s.labels.get(names.code, "")] += int(s.value)
                elif s.name == f"{names.duration}_bucket":
                    c.buckets.setdefault(route, Counter())[float(s.labels["le"])] += int(s.value)
    except (ValueError, KeyError, OverflowError) as e:
        raise LabError(f"a metrics page is no Prometheus text: {e}") from e
    return found


def quantile(buckets: Mapping[float, int], q: float) -> float | None:
    """The q-quantile in milliseconds, linear within its bucket (as Prometheus' histogram_quantile); None: empty."""
    bounds = sorted(buckets)
    if not bounds or buckets[bounds[-1]] <= 0:
        return None
    rank = q * buckets[bounds[-1]]
    below, low = 0, 0.0
    for bound in bounds:
        if buckets[bound] >= rank:
            if bound == float("inf"):
                # Only this bucket: all that is known is that it took some time.
                return low * 1e3 if low else None
            inside = buckets[bound] - below
            return (low + (bound - low) * (rank - below) / inside if inside else bound) * 1e3
        below, low = buckets[bound], bound
    return low * 1e3
