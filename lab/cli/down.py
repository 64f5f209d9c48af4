"""`lab down`: ends the lab and leaves nothing behind. Parses, calls, prints."""

from __future__ import annotations

import click

from lab.cli.common import lab_options
from lab.steps import app, cluster
from lab.steps.context import Lab


@click.command(epilog="Example: lab down --name class-7")
@lab_options
def command(lab: Lab) -> int:
    """End every process of the lab and remove its state; also after a crash.

    On a cluster of your own (--on context:NAME) the lab's namespace is removed and nothing else.
    """
    if lab.cluster.kind == "context":
        app.undo(lab)
    report = cluster.undo(lab)
    if report.nothing_to_do:
        print("nothing of this lab is running")
        return 0
    for line in report.killed:
        print(f"had to be killed: {line}")
    ended = len(report.stopped) + len(report.killed)
    what = "nodes" if lab.cluster.kind == "kind" else "processes"
    print(f"ended {ended} {what} in {report.seconds:.1f} s; nothing is left")
    return 0
