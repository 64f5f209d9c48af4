"""`lab status`: what there is. Parses, calls, prints; changes nothing."""

from __future__ import annotations

from typing import Any

import click

from lab.cli.common import lab_options, write_json
from lab.measure.window import is_ready
from lab.steps import mesh
from lab.steps.context import Lab


@click.command(epilog="Example: lab status --json -")
@lab_options
@click.option("--json", "json_to", metavar="FILE", help="Write it as JSON (- for standard output).")
def command(lab: Lab, json_to: str | None) -> int:
    """Show the cluster, the app's Deployments and whether they have the sidecar. Exit code 3 if it is not up."""
    status = lab.cluster.status()
    found: dict[str, Any] = {
        "cluster": lab.cluster.kind,
        "state": status.state,
        "detail": status.detail,
        "server": status.server,
        **status.extra,
        "deployments": _deployments(lab) if status.state == "up" else [],
    }
    if json_to:
        write_json(found, json_to)
        return 0 if status.state == "up" else 3
    print(f"cluster {lab.cluster.kind}: {status.state} ({status.detail})")
    for key in ("server", "kubeconfig"):
        if found.get(key):
            print(f"{key}: {found[key]}")
    for d in found["deployments"]:
        print(f"  {d['name']:<12} {d['ready']}/{d['pods']} ready   sidecar {'on' if d['sidecar'] else 'off'}")
    return 0 if status.state == "up" else 3


def _deployments(lab: Lab) -> list[dict[str, Any]]:
    found = []
    for d in lab.kube.list("Deployment", lab.namespace):
        pods = lab.kube.list("Pod", lab.namespace, d["spec"]["selector"]["matchLabels"])
        ready = sum(is_ready(p) for p in pods)
        found.append({"name": d["metadata"]["name"], "pods": len(pods), "ready": ready, "sidecar": mesh.is_injected(d)})
    return found
