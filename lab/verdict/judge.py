"""Counts per pod → a verdict with its numbers. Pure: the same counts give the same verdict.

*Even* is an equivalence test (Schuirmann 1987, TOST): every pod's share is shown to lie within a margin of fair.
Not "chi-square found nothing", which passes every small sample and fails every large one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from lab.verdict.explain import explain
from lab.verdict.intervals import EXPECTED, needed, quantile, wilson

VerdictName = Literal["pinned", "uneven", "even", "too-few-requests"]

PINNED_SHARE = 0.99
"""One pod with at least this share has all of it, but for stray requests of others."""

PINNED_CERTAIN = 0.9
"""… and the interval's low end must pass this: 71 requests with two pods, 110 with twenty, more if any strayed."""


@dataclass(frozen=True)
class PodShare:
    """One pod. share, low, high: 0 to 1, the interval with its ends."""

    name: str
    requests: int
    share: float
    low: float
    high: float


@dataclass(frozen=True)
class Verdict:
    """What the counts prove.

    effective_pods: 1/Σshare², the number of equally busy pods that would be as concentrated (0 without requests).
    fair: 1/pods. margin: of fair. confidence: that all intervals hold. needed: requests that would do, where there
    were too few. explanation: in words.
    """

    verdict: VerdictName
    requests: int
    pods: tuple[PodShare, ...]
    effective_pods: float
    fair: float
    margin: float
    confidence: float
    needed: int | None
    explanation: str


def judge(counts: Mapping[str, int], *, margin: float = 0.25, confidence: float = 0.99) -> Verdict:
    """Judge how requests were spread.

    counts: every ready pod, idle ones with 0. margin: how far from fair a share may be, as a part of fair.
    Raises ValueError for a margin or confidence outside (0, 1) or a negative count.
    """
    if not 0 < margin < 1 or not 0 < confidence < 1:
        raise ValueError("margin and confidence lie between 0 and 1")
    if any(n < 0 for n in counts.values()):
        raise ValueError("a count is negative")
    total, k = sum(counts.values()), max(len(counts), 1)
    z = quantile(confidence, k)
    pods = tuple(PodShare(name, n, n / total if total else 0.0, *wilson(n, total, z)) for name, n in counts.items())
    fair = 1 / k
    name = _name(pods, fair, margin)
    effective = 1 / sum(p.share**2 for p in pods) if total else 0.0
    enough = needed(k, margin, z) if name == "too-few-requests" and k > 1 else None
    if enough is not None and enough <= total:
        # The true shares lie close to the margin: more of the same, and yet more.
        enough = 2 * total
    words = explain(name, total, [(p.name, p.share) for p in pods], fair, margin, enough)
    return Verdict(name, total, pods, effective, fair, margin, confidence, enough, words)


def _name(pods: tuple[PodShare, ...], fair: float, margin: float) -> VerdictName:
    if len(pods) < 2:
        return "too-few-requests"
    busiest = max(pods, key=lambda p: p.share)
    if busiest.share >= PINNED_SHARE and busiest.low >= PINNED_CERTAIN:
        return "pinned"
    if sum(p.requests for p in pods) < EXPECTED * len(pods):
        return "too-few-requests"
    low, high = fair * (1 - margin), fair * (1 + margin)
    if any(p.high < low or p.low > high for p in pods):
        return "uneven"
    if all(low <= p.low and p.high <= high for p in pods):
        return "even"
    return "too-few-requests"
