"""`lab scenario list|run`: one claim at a time. Parses, calls, prints."""

from __future__ import annotations

import click

from lab.cli.common import check_json_target, lab_options, show, write_json
from lab.scenarios import load, names
from lab.steps import app, cluster, mesh, observe
from lab.steps.context import Lab


@click.group(name="scenario", epilog="Example: lab scenario run 02-even --json even.json")
def command() -> None:
    """Run the claims in scenarios/ one by one."""


@command.command("list", epilog="Example: lab scenario list")
def list_() -> int:
    """List the scenarios and what they claim."""
    for name in names():
        print(f"{name:<12} {load(name).claim.text}")
    return 0


@command.command(epilog="Example: lab scenario run 01-pinned --json -")
@click.argument("scenario_name", metavar="NAME")
@lab_options
@click.option("--json", "json_to", metavar="FILE", help="Write the report there (- for standard output).")
def run(lab: Lab, scenario_name: str, json_to: str | None) -> int:
    """Bring the lab into the state that scenario NAME asks for, measure, and judge. Exit code 0 only if it holds.

    The lab stays up in that state; `lab up` returns it to the usual one.
    """
    scenario = load(scenario_name)
    check_json_target(json_to)
    cluster.do(lab)
    app.do(lab)
    mesh.switch(lab, scenario.mesh)
    observe.wait_for_traffic(lab, scenario.service)
    report = observe.observe(lab, scenario)
    lab.keep(scenario.name, report.to_json())
    if json_to != "-":
        show(report)
    if json_to:
        write_json(report.to_json(), json_to)
    return 0 if report.claim.holds else 1
