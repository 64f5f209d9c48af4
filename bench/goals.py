"""What the proxy is to reach, in this run and against these peers. Data only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Goal:
    """`number` of `case`: a ratio to the peer `against` (empty: to the best other L7 proxy), or a figure by itself."""

    text: str
    case: str
    number: str
    limit: float
    against: str = ""
    per_round: bool = False
    unit: str = "×"


GOALS = (
    Goal("CPU per request, 8 × 16, to the TCP floor", "8x16", "cpu_us", 1.25, "tcp"),
    Goal("CPU per request, 8 × 16, to nghttpx", "8x16", "cpu_us", 0.45, "nghttpx"),
    Goal("CPU per request, 100 × 1, to the TCP floor", "100x1", "cpu_us", 0.6, "tcp"),
    Goal("p99, 100 × 1, to the TCP floor", "100x1", "p99", 1.0, "tcp"),
    Goal("CPU per request at 2,000/s, to the TCP floor", "r2000", "cpu_us", 1.0, "tcp"),
    Goal("p50 at 2,000/s, to the TCP floor", "r2000", "p50", 1.0, "tcp"),
    Goal("p99 at 2,000/s, to the TCP floor", "r2000", "p99", 1.0, "tcp"),
    Goal("CPU per byte, 64 KiB bodies, to the best L7 peer", "8x4-64k", "cpu_us", 1.0),
    Goal("RSS idle, static list", "memory", "idle", 3 * 1024, per_round=True, unit="KiB"),
    Goal("RSS peak, 8 × 16, static list", "8x16", "peak", 4 * 1024, per_round=True, unit="KiB"),
    Goal("RSS peak, 100 × 1, static list", "100x1", "peak", 4 * 1024, per_round=True, unit="KiB"),
    Goal("RSS per idle connection", "memory", "per_connection", 8 * 1024, per_round=True, unit="B"),
    Goal("RSS per idle stream", "memory", "per_stream", 1024, per_round=True, unit="B"),
)
