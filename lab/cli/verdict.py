"""`lab verdict SERVICE`: is it pinned? Parses, calls, prints; changes nothing."""

from __future__ import annotations

import click

from lab.cli.common import check_json_target, lab_options, show, write_json
from lab.measure import GRPC, MetricNames, Window, measure
from lab.steps import observe
from lab.steps.context import Lab
from lab.verdict import judge


@click.command(epilog="Example: lab verdict voting --window 30 --json -")
@click.argument("service")
@lab_options
@click.option("--window", "seconds", type=click.FloatRange(0.1, 3600), default=10, show_default=True, help="Seconds.")
@click.option("--warm-up", type=click.FloatRange(0, 600), default=1, show_default=True, help="Seconds before it.")
@click.option("--margin", type=click.FloatRange(0.01, 0.9), default=0.25, show_default=True, help="Of a fair share.")
@click.option("--port", type=click.IntRange(1, 65535), default=9100, show_default=True, help="The pods' metrics port.")
@click.option("--metric", default=GRPC.total, show_default=True, help="Counter of requests on the pods.")
@click.option("--json", "json_to", metavar="FILE", help="Write the report there (- for standard output).")
def command(
    lab: Lab,
    service: str,
    seconds: float,
    warm_up: float,
    margin: float,
    port: int,
    metric: str,
    json_to: str | None,
) -> int:
    """Measure SERVICE's pods and say pinned, uneven, even or too-few-requests. Exit code 0 only if it is even."""
    check_json_target(json_to)
    names = MetricNames(metric, GRPC.duration, GRPC.route, GRPC.code)
    window = Window(lab.namespace, service, seconds, warm_up, port=port, metrics=names)
    sample = measure(lab.kube, window, lab.progress)
    report = observe.report(lab, None, sample, judge(sample.counts, margin=margin), service)
    if json_to != "-":
        show(report)
    if json_to:
        write_json(report.to_json(), json_to)
    return 0 if report.claim.holds else 1
