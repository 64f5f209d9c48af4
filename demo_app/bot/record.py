"""What the bot saw: counts and latencies, for its metrics and for its report. Knows no gRPC call."""

from __future__ import annotations

from collections import Counter, deque
from typing import Any

import prometheus_client as prometheus

from demo_app.common.metrics import BUCKETS

# Latencies kept for the percentiles: enough for any measured run, bounded for one without end.
KEPT = 100_000


class Record:
    """Every request once, by route (":path"), gRPC code name and pod ("" when no reply named one)."""

    def __init__(self, registry: prometheus.CollectorRegistry) -> None:
        self.counts: Counter[tuple[str, str, str]] = Counter()
        self.dropped = 0
        self._latencies_s: deque[float] = deque(maxlen=KEPT)
        self._requests = prometheus.Counter(
            "bot_requests", "Requests ended, by outcome.", ("route", "code", "pod"), registry=registry
        )
        self._seconds = prometheus.Histogram(
            "bot_request_seconds",
            "Time from the call to its end, in seconds.",
            ("route",),
            buckets=BUCKETS,
            registry=registry,
        )
        self._dropped = prometheus.Counter(
            "bot_dropped", "Requests due but not sent: too many in flight.", registry=registry
        )
        self._children: dict[tuple[str, str, str], tuple[prometheus.Counter, prometheus.Histogram]] = {}

    def ended(self, route: str, code: str, pod: str, took_s: float) -> None:
        key = (route, code, pod)
        children = self._children.get(key)
        if children is None:
            children = self._requests.labels(*key), self._seconds.labels(route)
            self._children[key] = children
        children[0].inc()
        children[1].observe(took_s)
        self.counts[key] += 1
        self._latencies_s.append(took_s)

    def drop(self) -> None:
        self.dropped += 1
        self._dropped.inc()

    def report(self) -> dict[str, Any]:
        """{requests, ok, errors_by_code, pods, routes, p50_ms, p95_ms, p99_ms, dropped}.

        pods: requests answered by name of pod. Percentiles: ms, nearest rank, of all ended requests, failed
        ones included (the last 100 000 of them); None when there were none.
        """
        codes, pods, routes = Counter[str](), Counter[str](), Counter[str]()
        for (route, code, pod), count in self.counts.items():
            codes[code] += count
            routes[route] += count
            if pod:
                pods[pod] += count
        ordered = sorted(self._latencies_s)
        return {
            "requests": codes.total(),
            "ok": codes["OK"],
            "errors_by_code": {c: n for c, n in sorted(codes.items()) if c != "OK"},
            "pods": dict(sorted(pods.items())),
            "routes": dict(sorted(routes.items())),
            "p50_ms": _percentile_ms(ordered, 50),
            "p95_ms": _percentile_ms(ordered, 95),
            "p99_ms": _percentile_ms(ordered, 99),
            "dropped": self.dropped,
        }

    def line(self) -> str:
        """The report in one line, for a log."""
        r = self.report()
        shares = ", ".join(f"{pod} {n}" for pod, n in r["pods"].items()) or "none answered"
        errors = ", ".join(f"{code} {n}" for code, n in r["errors_by_code"].items()) or "no errors"
        p99 = "-" if r["p99_ms"] is None else f"{r['p99_ms']:g}"
        return f"{r['requests']} requests; {errors}; {r['dropped']} dropped; p99 {p99} ms; pods: {shares}"


def _percentile_ms(ordered: list[float], percent: int) -> float | None:
    if not ordered:
        return None
    rank = -(-len(ordered) * percent // 100)
    return round(ordered[rank - 1] * 1000, 3)
