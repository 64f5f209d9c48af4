"""Step: the voting app is deployed, all its pods are ready, and the bot's requests arrive. Undo: it is gone.

Applying is idempotent: each object carries a hash of what was applied, and one that is right already is left alone,
whatever the mesh step has added to it since.
"""

from __future__ import annotations

import hashlib
import json

from lab import manifests
from lab.errors import LabError
from lab.inject import Options, inject
from lab.kube import Object, wait_for
from lab.measure.window import is_ready
from lab.steps.context import Lab
from lab.steps.mesh import is_injected

APPLIED = "balance-lab/applied"
DEADLINE_S = 90.0


def do(lab: Lab) -> list[str]:
    """Apply what is not right yet and wait until all of it is ready; returns what was applied.

    Raises ApiFailure, NotInTime.
    """
    changed = []
    for wanted in manifests.load(namespace=lab.namespace, images=lab.images):
        if apply(lab, wanted):
            changed.append(f"{wanted['kind']}/{wanted['metadata']['name']}")
    for deployment in lab.kube.list("Deployment", lab.namespace):
        wait_rolled_out(lab, deployment["metadata"]["name"])
    return changed


def undo(lab: Lab) -> None:
    """Remove the namespace and all in it. Raises ApiFailure."""
    if lab.kube.delete("Namespace", "", lab.namespace):
        wait_for(
            lambda: (lab.kube.get("Namespace", "", lab.namespace) is None, "still there"),
            DEADLINE_S,
            f"namespace {lab.namespace} is gone",
            lab.progress,
        )


def apply(lab: Lab, wanted: Object) -> bool:
    """Make one object so; False if it was already."""
    kind, name = wanted["kind"], wanted["metadata"]["name"]
    namespace = wanted["metadata"].get("namespace", "")
    digest = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()[:16]
    wanted = {**wanted, "metadata": {**wanted["metadata"]}}
    wanted["metadata"]["annotations"] = {**wanted["metadata"].get("annotations", {}), APPLIED: digest}
    live = lab.kube.get(kind, namespace, name)
    if live is None:
        lab.kube.create(wanted)
        return True
    if (live["metadata"].get("annotations") or {}).get(APPLIED) == digest:
        return False
    if kind == "Deployment" and is_injected(live):
        wanted = inject(wanted, Options(image=manifests.sidecar_image(lab.images)))
    lab.kube.patch(kind, namespace, name, wanted)
    return True


def wait_rolled_out(lab: Lab, name: str, deadline_s: float = DEADLINE_S) -> None:
    """Wait until a Deployment's pods are all new and ready and the old ones are gone. Raises NotInTime."""

    def look() -> tuple[bool, str]:
        deployment = lab.kube.get("Deployment", lab.namespace, name)
        if deployment is None:
            raise LabError(f"the Deployment {name} is gone")
        wanted = deployment["spec"].get("replicas", 1)
        status = deployment.get("status") or {}
        current = status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
        updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
        if not (current and updated == available == wanted == status.get("replicas", 0)):
            return False, f"{available} of {wanted} ready, {updated} of them new{_trouble(lab, deployment)}"
        pods = lab.kube.list("Pod", lab.namespace, deployment["spec"]["selector"]["matchLabels"])
        ready = sum(is_ready(p) for p in pods)
        return ready == len(pods) == wanted, f"{ready} of {wanted} ready, {len(pods)} pods"

    wait_for(look, deadline_s, name, lab.progress)


def _trouble(lab: Lab, deployment: Object) -> str:
    """What a pod that does not start says of itself."""
    for pod in lab.kube.list("Pod", lab.namespace, deployment["spec"]["selector"]["matchLabels"]):
        status = pod.get("status") or {}
        for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
            why = _complaint(container.get("state") or {})
            if why:
                return f" ({pod['metadata']['name']}/{container['name']}: {why})"
    return ""


def _complaint(state: Object) -> str:
    """Why a container waits or has failed; "" if that is in order."""
    waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
    if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
        return ": ".join([waiting["reason"], *str(waiting.get("message", "")).splitlines()[:1]])
    if ended.get("exitCode"):
        return f"ended with exit code {ended['exitCode']}; its log: kubectl logs"
    return ""
