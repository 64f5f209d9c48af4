"""Counters at both ends of a window → a Sample: requests, errors, latencies and CPU per pod.

Knows numbers; nothing of how they were fetched or what they prove.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from lab.measure.scrape import Counters, quantile

Quantiles = tuple[float | None, float | None, float | None]
"""p50, p95, p99 in milliseconds; None where nothing was measured."""


@dataclass(frozen=True)
class RouteStat:
    """One route over the whole window. success: share of OK, 0 to 1."""

    route: str
    requests: int
    success: float
    rps: float
    latency: Quantiles
    errors: Mapping[str, int]


@dataclass(frozen=True)
class Sample:
    """What happened in a window.

    counts: pod → requests, idle pods with 0. errors: code → n. sidecars: pod → requests as the sidecars counted
    them, None without sidecars. cpu_s: pod → CPU seconds used. notes: what was odd, for the report.
    """

    counts: Mapping[str, int]
    errors: Mapping[str, int]
    latency: Mapping[str, Quantiles]
    cpu_s: Mapping[str, float]
    routes: tuple[RouteStat, ...]
    sidecars: Mapping[str, int] | None
    window_s: float
    started: datetime
    notes: tuple[str, ...] = ()

    @property
    def requests(self) -> int:
        return sum(self.counts.values())


def is_ok(code: str) -> bool:
    """gRPC's OK, or an HTTP status below 400."""
    return code == "OK" or (code.isdecimal() and 100 <= int(code) < 400)


def deltas(
    before: Mapping[str, Counters], after: Mapping[str, Counters], notes: list[str], what: str
) -> dict[str, Counters]:
    """Per source what the window added. One that began anew counts from zero; one that is gone is noted."""
    found: dict[str, Counters] = {}
    for name, now in after.items():
        since = now.minus(before[name]) if name in before else now
        if since is None:
            notes.append(f"{what} {name} began anew during the window; counted from then")
            since = now
        elif name not in before:
            notes.append(f"{what} {name} came during the window")
        found[name] = since
    notes.extend(f"{what} {name} went away during the window" for name in before if name not in after)
    return found


def quantiles(all_of: Iterable[Counters], route: str | None = None) -> Quantiles:
    """p50, p95, p99 over all these counters, or over one route of them."""
    merged: Counter[float] = Counter()
    for c in all_of:
        for name, bounds in c.buckets.items():
            if route is None or name == route:
                merged.update(bounds)
    return quantile(merged, 0.5), quantile(merged, 0.95), quantile(merged, 0.99)


def routes(per_pod: Iterable[Counters], window_s: float) -> tuple[RouteStat, ...]:
    """Statistics per route, worst success first."""
    all_of = list(per_pod)
    codes: dict[str, Counter[str]] = {}
    for c in all_of:
        for (route, code), n in c.requests.items():
            codes.setdefault(route, Counter())[code] += n
    stats = []
    for route, by_code in codes.items():
        n = sum(by_code.values())
        if n:
            errors = {code: k for code, k in sorted(by_code.items()) if k and not is_ok(code)}
            success = 1 - sum(errors.values()) / n
            stats.append(RouteStat(route, n, success, n / window_s, quantiles(all_of, route), errors))
    return tuple(sorted(stats, key=lambda s: (s.success, s.route)))
