"""A report and its JSON. Knows the fields; docs/report.md is the same for readers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, get_args

from lab.verdict import PodShare, Verdict, VerdictName

SCHEMA = "grpc-balance-lab/report/v1"


@dataclass(frozen=True)
class Latency:
    """Milliseconds; None where nothing was measured."""

    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None


@dataclass(frozen=True)
class Claim:
    """What was claimed, or which number speaks against it."""

    holds: bool
    text: str


@dataclass(frozen=True)
class Sources:
    """Who counted. sidecars, agree, difference (share of the requests): None without sidecars."""

    pods: int
    sidecars: int | None
    agree: bool | None
    difference: float | None
    text: str


@dataclass(frozen=True)
class Report:
    """One measurement, judged. cpu_s: CPU seconds per pod in the window. errors: code → n. window_s: seconds."""

    scenario: str | None
    cluster: str
    mesh: bool
    service: str
    verdict: Verdict
    latencies: Mapping[str, Latency]
    cpu_s: Mapping[str, float]
    errors: Mapping[str, int]
    claim: Claim
    sources: Sources
    window_s: float
    started: datetime
    notes: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        v = self.verdict
        return {
            "schema": SCHEMA,
            "scenario": self.scenario,
            "cluster": self.cluster,
            "mesh": self.mesh,
            "service": self.service,
            "requests": v.requests,
            "errors": dict(self.errors),
            "pods": [self._pod(p) for p in v.pods],
            "effective_pods": _round(v.effective_pods),
            "margin": v.margin,
            "confidence": v.confidence,
            "verdict": v.verdict,
            "needed": v.needed,
            "explanation": v.explanation,
            "claim": {"holds": self.claim.holds, "text": self.claim.text},
            "sources": {
                "pods": self.sources.pods,
                "sidecars": self.sources.sidecars,
                "agree": self.sources.agree,
                "difference": _round(self.sources.difference),
                "text": self.sources.text,
            },
            "window_s": _round(self.window_s),
            "started": self.started.astimezone(UTC).isoformat(timespec="seconds"),
            "notes": list(self.notes),
        }

    def _pod(self, p: PodShare) -> dict[str, Any]:
        times = self.latencies.get(p.name, Latency())
        return {
            "name": p.name,
            "requests": p.requests,
            "share": _round(p.share),
            "share_low": _round(p.low),
            "share_high": _round(p.high),
            "p50_ms": _round(times.p50_ms),
            "p95_ms": _round(times.p95_ms),
            "p99_ms": _round(times.p99_ms),
            "cpu_s": _round(self.cpu_s.get(p.name)),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Report:
        """A report from its JSON, as kept. Raises ValueError if it is none."""
        try:
            if value["schema"] != SCHEMA or value["verdict"] not in get_args(VerdictName):
                raise ValueError(f"not a report of schema {SCHEMA}")
            pods = value["pods"]
            shares = tuple(
                PodShare(p["name"], p["requests"], p["share"], p["share_low"], p["share_high"]) for p in pods
            )
            verdict = Verdict(
                verdict=value["verdict"],
                requests=value["requests"],
                pods=shares,
                effective_pods=value["effective_pods"],
                fair=1 / max(len(shares), 1),
                margin=value["margin"],
                confidence=value["confidence"],
                needed=value["needed"],
                explanation=value["explanation"],
            )
            return cls(
                scenario=value["scenario"],
                cluster=value["cluster"],
                mesh=value["mesh"],
                service=value["service"],
                verdict=verdict,
                latencies={p["name"]: Latency(p["p50_ms"], p["p95_ms"], p["p99_ms"]) for p in pods},
                cpu_s={p["name"]: p["cpu_s"] for p in pods if p["cpu_s"] is not None},
                errors=dict(value["errors"]),
                claim=Claim(**value["claim"]),
                sources=Sources(**value["sources"]),
                window_s=value["window_s"],
                started=datetime.fromisoformat(value["started"]),
                notes=tuple(value["notes"]),
            )
        except (KeyError, TypeError) as e:
            raise ValueError(f"not a report of schema {SCHEMA}: {e!r}") from e


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
