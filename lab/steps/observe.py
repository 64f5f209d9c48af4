"""Step: a window is measured, judged, held against a claim, and kept as evidence. Undo: none, it changes nothing."""

from __future__ import annotations

from dataclasses import replace

from lab.kube import wait_for
from lab.measure import Sample, Window, measure
from lab.measure.window import ready_pods
from lab.report import Claim, Latency, Report, Sources
from lab.scenarios import Scenario
from lab.steps.context import Lab
from lab.steps.mesh import meshed
from lab.verdict import Verdict, judge

AGREE = 0.01
"""Pods and sidecars count alike if they differ by no more than this share of the requests."""


def wait_for_traffic(lab: Lab, service: str) -> None:
    """Wait until requests arrive at a Service's pods. Raises NotInTime."""
    window = Window(lab.namespace, service, seconds=0.2, warm_up=0)

    def look() -> tuple[bool, str]:
        if not ready_pods(lab.kube, window):
            return False, "no pod is ready"
        n = measure(lab.kube, window).requests
        return n > 0, f"{n} requests in {window.seconds} s"

    wait_for(look, 30, f"requests arrive at {service}", lab.progress)


def observe(lab: Lab, scenario: Scenario, window: Window | None = None) -> Report:
    """Measure what a scenario asks for, without changing anything. Raises LabError."""
    window = window or Window(lab.namespace, scenario.service, scenario.window_s, scenario.warm_up_s)
    sample = measure(lab.kube, window, lab.progress)
    verdict = judge(sample.counts, margin=scenario.margin)
    return report(lab, scenario, sample, verdict)


def report(lab: Lab, scenario: Scenario | None, sample: Sample, verdict: Verdict, service: str = "") -> Report:
    """Sample and verdict as a Report; without a scenario the claim is that the Service is even."""
    claim = check(scenario, verdict) if scenario else Claim(verdict.verdict == "even", f"{service} is balanced evenly")
    cluster = lab.cluster.kind if lab.cluster.kind != "context" else f"context:{lab.cluster.context}"
    return Report(
        scenario=scenario.name if scenario else None,
        cluster=cluster,
        mesh=bool(meshed(lab)),
        service=f"{lab.namespace}/{scenario.service if scenario else service}",
        verdict=verdict,
        latencies={pod: Latency(*q) for pod, q in sample.latency.items()},
        cpu_s=dict(sample.cpu_s),
        errors=dict(sample.errors),
        claim=claim,
        sources=sources(sample),
        window_s=sample.window_s,
        started=sample.started,
        notes=sample.notes,
    )


def check(scenario: Scenario, verdict: Verdict) -> Claim:
    """Does the claim hold? The text says which number decided."""
    c = scenario.claim
    largest = max((p.share for p in verdict.pods), default=0.0)
    faults = []
    if verdict.verdict != c.verdict:
        faults.append(f"the verdict is {verdict.verdict}, not {c.verdict}")
    if verdict.requests < c.min_requests:
        faults.append(f"{verdict.requests} requests are fewer than {c.min_requests}")
    if c.min_largest_share is not None and largest < c.min_largest_share:
        faults.append(f"the busiest pod has {largest:.1%}, below {c.min_largest_share:.0%}")
    if c.max_effective_pods is not None and verdict.effective_pods > c.max_effective_pods:
        faults.append(f"{verdict.effective_pods:.2f} effective pods, above {c.max_effective_pods}")
    if c.min_effective_pods is not None and verdict.effective_pods < c.min_effective_pods:
        faults.append(f"{verdict.effective_pods:.2f} effective pods, below {c.min_effective_pods}")
    return Claim(not faults, f"{c.text}: {'; '.join(faults)}" if faults else c.text)


def sources(sample: Sample) -> Sources:
    """Do pods and sidecars count alike?"""
    pods = sample.requests
    if sample.sidecars is None:
        return Sources(pods, None, None, None, "counted by the pods; there is no sidecar")
    sidecars = sum(sample.sidecars.values())
    difference = abs(pods - sidecars) / max(pods, 1)
    agree = difference <= AGREE
    text = f"counted by the pods ({pods}) and by the sidecars ({sidecars}), which differ by {difference:.1%}"
    if not agree and sidecars < pods:
        text += ": some clients have no sidecar"
    return Sources(pods, sidecars, agree, difference, text)


BRIEF_S = 7.5
"""1,500 requests at the bot's 200 a second; three pods within ±25 % need 1,154 (`lab.verdict.intervals.needed`)."""


def brief(scenario: Scenario) -> Scenario:
    """The same with a shorter window, for a second look at what was proved before."""
    return replace(scenario, warm_up_s=0.5, window_s=BRIEF_S)
