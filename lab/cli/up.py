"""`lab up`: pinned → even, from nothing. Parses, runs the steps in order, prints."""

from __future__ import annotations

import click

from lab.cli.common import check_json_target, lab_options, show, write_json
from lab.report import Report, side_by_side
from lab.scenarios import load
from lab.steps import app, cluster, mesh, observe
from lab.steps.context import Lab

PINNED, EVEN = "01-pinned", "02-even"


@click.command(epilog="Example: lab up --json report.json")
@lab_options
@click.option("--json", "json_to", metavar="FILE", help="Write both reports there (- for standard output).")
@click.option("--keep", is_flag=True, help="Leave what was made when a step fails, to look at it.")
def command(lab: Lab, json_to: str | None, keep: bool) -> int:
    """Start the cluster, deploy the voting app, show traffic pinned to one pod, turn the sidecar on, show it even.

    A second `lab up` takes seconds and changes nothing that is right already.
    """
    check_json_target(json_to)
    fresh = not cluster.do(lab).already_up
    try:
        before, after = _steps(lab)
    except BaseException:
        if fresh and not keep:
            lab.progress("a step failed: undoing what this run made (--keep leaves it)")
            cluster.undo(lab)
        raise
    _next_steps(lab)
    if json_to:
        write_json({"pinned": before.to_json(), "even": after.to_json()}, json_to)
    return 0 if before.claim.holds and after.claim.holds else 1


def _steps(lab: Lab) -> tuple[Report, Report]:
    """The steps behind the cluster; both states' reports."""
    lab.progress(f"deploying the voting app to namespace {lab.namespace}")
    changed = app.do(lab)
    lab.progress(f"the app is ready ({len(changed)} objects applied)" if changed else "the app is ready already")
    observe.wait_for_traffic(lab, "voting")
    stored = lab.kept(PINNED)
    if mesh.meshed(lab) and stored is not None and not changed:
        before = Report.from_json(stored)
        print("\nBefore, without the sidecar (measured earlier):\n")
        show(before)
        after = observe.observe(lab, observe.brief(load(EVEN)))
        print("\nNow, with the sidecar (a brief look):\n")
        show(after)
        return before, after
    mesh.switch(lab, on=False)
    before = observe.observe(lab, load(PINNED))
    lab.keep(PINNED, before.to_json())
    print("\nWithout the sidecar:\n")
    show(before)
    print(flush=True)
    lab.progress("turning the sidecar on: no line of the app changes")
    for name in mesh.switch(lab, on=True):
        lab.progress(f"{name} has the sidecar")
    observe.wait_for_traffic(lab, "voting")
    after = observe.observe(lab, load(EVEN))
    lab.keep(EVEN, after.to_json())
    print("\nWith the sidecar:\n")
    show(after)
    print()
    print(side_by_side(before, after))
    return before, after


def _next_steps(lab: Lab) -> None:
    where = lab.flags()
    print("\nNext:")
    if lab.cluster.kind == "local":
        service = lab.kube.get("Service", lab.namespace, "web")
        ip = service["spec"].get("clusterIP") if service else None
        print(f"  vote yourself           http://{ip}:8080/")
    else:
        kubectl = f"kubectl --kubeconfig {lab.cluster.kubeconfig_path} --context {lab.cluster.context}"
        print(f"  vote yourself           {kubectl} -n {lab.namespace} port-forward service/web 8080")
    print(f"  which route fails?      lab stat{where}")
    print(f"  turn the sidecar off    lab mesh off{where}")
    print(f"  one claim alone         lab scenario run 01-pinned{where}")
    print(f"  end it all              lab down{where}", flush=True)
