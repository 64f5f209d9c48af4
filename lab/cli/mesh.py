"""`lab mesh on|off`: the sidecar in live Deployments. Parses, calls, prints."""

from __future__ import annotations

import click

from lab.cli.common import lab_options
from lab.steps import mesh
from lab.steps.context import Lab


@click.command(epilog="Example: lab mesh on bot")
@click.argument("state", type=click.Choice(["on", "off"]))
@click.argument("deployment", nargs=-1)
@lab_options
def command(lab: Lab, state: str, deployment: tuple[str, ...]) -> int:
    """Give DEPLOYMENTs the sidecar, or take it away, and wait for the roll-out.

    Without names: all Deployments with the label balance-lab/mesh=client.
    """
    changed = mesh.switch(lab, state == "on", deployment)
    names = ", ".join(d["metadata"]["name"] for d in mesh.clients(lab, deployment))
    print(f"sidecar {state}: {names}{'' if changed else ' (it was already)'}")
    return 0
