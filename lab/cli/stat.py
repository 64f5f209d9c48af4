"""`lab stat`: success rate, requests and latency per pod and per route. Parses, calls, prints; changes nothing."""

from __future__ import annotations

import click

from lab.cli.common import check_json_target, lab_options, write_json
from lab.measure import Sample, Window, measure
from lab.measure.sample import Quantiles
from lab.steps.context import Lab

_HEAD = f"{'':<34} {'requests':>9} {'rps':>8} {'success':>8} {'p50':>8} {'p95':>8} {'p99':>8}"


@click.command(epilog="Example: lab stat voting --window 30")
@click.argument("service", default="voting")
@lab_options
@click.option("--window", "seconds", type=click.FloatRange(0.1, 3600), default=10, show_default=True, help="Seconds.")
@click.option("--json", "json_to", metavar="FILE", help="Write it as JSON (- for standard output).")
def command(lab: Lab, service: str, seconds: float, json_to: str | None) -> int:
    """Measure SERVICE over a window and show it per pod and per route; the route that fails comes first."""
    check_json_target(json_to)
    sample = measure(lab.kube, Window(lab.namespace, service, seconds, warm_up=0), lab.progress)
    if json_to:
        write_json(_json(sample), json_to)
    if json_to != "-":
        _print(sample)
    return 0


def _print(sample: Sample) -> None:
    print(f"pods{_HEAD[4:]}")
    for pod, n in sample.counts.items():
        print(_row(pod, n, n / sample.window_s, None, sample.latency[pod]))
    print(f"\nroutes{_HEAD[6:]}")
    for r in sample.routes:
        errors = "  " + ", ".join(f"{n} {code}" for code, n in r.errors.items()) if r.errors else ""
        print(_row(r.route, r.requests, r.rps, r.success, r.latency) + errors)
    for note in sample.notes:
        print(f"note: {note}")


def _row(name: str, n: int, rps: float, success: float | None, latency: Quantiles) -> str:
    times = " ".join(f"{'–' if q is None else f'{q:.1f} ms':>8}" for q in latency)
    return f"{name:<34} {n:>9} {rps:>8.1f} {'' if success is None else f'{success:.1%}':>8} {times}"


def _json(sample: Sample) -> dict[str, object]:
    def times(q: Quantiles) -> dict[str, float | None]:
        return {"p50_ms": q[0], "p95_ms": q[1], "p99_ms": q[2]}

    return {
        "window_s": sample.window_s,
        "pods": [
            {"name": pod, "requests": n, "cpu_s": sample.cpu_s.get(pod), **times(sample.latency[pod])}
            for pod, n in sample.counts.items()
        ],
        "routes": [
            {
                "route": r.route,
                "requests": r.requests,
                "rps": r.rps,
                "success": r.success,
                "errors": dict(r.errors),
                **times(r.latency),
            }
            for r in sample.routes
        ],
        "notes": list(sample.notes),
    }
