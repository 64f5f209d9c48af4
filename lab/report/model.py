"""A report and its JSON. Knows the fields; docs/report.md is the same for readers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, get_args

from lab.verdict import PodShare, Verdict, VerdictName

SCHEMA = "grpc-balance-lab/report/v1"

_NUMBER = (int, float)
_MAYBE = (int, float, type(None))
_FIELDS: dict[str, type | tuple[type, ...]] = {
    "scenario": (str, type(None)),
    "cluster": str,
    "mesh": bool,
    "service": str,
    "requests": int,
    "errors": dict,
    "pods": list,
    "effective_pods": _NUMBER,
    "margin": _NUMBER,
    "confidence": _NUMBER,
    "needed": (int, type(None)),
    "explanation": str,
    "claim": dict,
    "sources": dict,
    "window_s": _NUMBER,
    "started": str,
    "notes": list,
}
_POD_FIELDS: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "requests": int,
    **dict.fromkeys(("share", "share_low", "share_high"), _NUMBER),
    **dict.fromkeys(("p50_ms", "p95_ms", "p99_ms", "cpu_s"), _MAYBE),
}


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
            _check(value, _FIELDS)
            pods = value["pods"]
            for pod in pods:
                _check(pod, _POD_FIELDS)
            _check(value["claim"], {"holds": bool, "text": str})
            _check(value["sources"], {"pods": int, "text": str})
            _check(value["errors"], dict.fromkeys(value["errors"], int))
            _check(dict(enumerate(value["notes"])), dict.fromkeys(range(len(value["notes"])), str))
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


def _check(value: Mapping[Any, Any], types: Mapping[Any, type | tuple[type, ...]]) -> None:
    """Raises TypeError for a field of another type, which would else be found only where it is used."""
    for name, kind in types.items():
        if not isinstance(value[name], kind):
            raise TypeError(f"{name} is a {type(value[name]).__name__}")


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
