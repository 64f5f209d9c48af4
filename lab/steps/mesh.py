"""Step: clients have the sidecar. Undo: they have it no longer. Nothing else of them changes.

Patches the live Deployments by the same functions as `lab inject` and waits for the roll-out.
"""

from __future__ import annotations

from collections.abc import Sequence

from lab import manifests
from lab.errors import ApiFailure, BadInput
from lab.inject import ANNOTATION, Options, inject, undo
from lab.kube import Object
from lab.steps.context import Lab

CLIENT = {"balance-lab/mesh": "client"}
_TRIES = 5


def is_injected(deployment: Object) -> bool:
    return ANNOTATION in (deployment["spec"]["template"].get("metadata", {}).get("annotations") or {})


def clients(lab: Lab, names: Sequence[str] = ()) -> list[Object]:
    """The Deployments meant: those named, else all that are labelled as clients. Raises BadInput."""
    found = lab.kube.list("Deployment", lab.namespace, None if names else CLIENT)
    by_name = {d["metadata"]["name"]: d for d in found}
    unknown = [n for n in names if n not in by_name]
    if unknown:
        raise BadInput(
            f"there is no Deployment {', '.join(unknown)} in namespace {lab.namespace}",
            f"there are: {', '.join(sorted(by_name)) or 'none'}",
        )
    if not by_name:
        raise BadInput(f"no Deployment in namespace {lab.namespace} has the label balance-lab/mesh=client", "name them")
    return [by_name[n] for n in (names or sorted(by_name))]


def meshed(lab: Lab) -> list[str]:
    """Deployments of the namespace that have the sidecar."""
    return sorted(d["metadata"]["name"] for d in lab.kube.list("Deployment", lab.namespace) if is_injected(d))


def switch(lab: Lab, on: bool, names: Sequence[str] = ()) -> list[str]:
    """Turn the sidecar on or off and wait until it is so; returns what was changed.

    Raises BadInput, InjectError, ApiFailure, NotInTime.
    """
    from lab.steps.app import wait_rolled_out

    changed = []
    for deployment in clients(lab, names):
        name = deployment["metadata"]["name"]
        if is_injected(deployment) != on:
            _change(lab, name, on)
            changed.append(name)
    for deployment in clients(lab, names):
        wait_rolled_out(lab, deployment["metadata"]["name"])
    return changed


def _change(lab: Lab, name: str, on: bool) -> None:
    """Read, change, write back; again if somebody else wrote in between."""
    for attempt in range(_TRIES):
        live = lab.kube.get("Deployment", lab.namespace, name)
        if live is None:
            raise BadInput(f"there is no Deployment {name} in namespace {lab.namespace}")
        live.setdefault("kind", "Deployment")
        live.setdefault("apiVersion", "apps/v1")
        changed = inject(live, Options(image=manifests.sidecar_image(lab.images))) if on else undo(live)
        try:
            lab.kube.replace(changed)
            return
        except ApiFailure as e:
            if e.status != 409 or attempt == _TRIES - 1:
                raise
