"""Clusters the lab can run on: one small interface (`base.py`) and who provides it.

    local         real processes as pods, made and ended by the lab (`local/`)
    kind          a real cluster in docker, made and deleted by the lab (`kind.py`)
    context:NAME  a cluster that exists already, by its kubeconfig context (`context.py`)

Must not know: the demo app, the injector, measurements.
"""

from __future__ import annotations

from lab.clusters.base import Cluster, ClusterStatus, DownReport, Progress, UpReport
from lab.clusters.errors import BadClusterInput, ClusterError, NotAvailable

__all__ = [
    "BadClusterInput",
    "Cluster",
    "ClusterError",
    "ClusterStatus",
    "DownReport",
    "NotAvailable",
    "Progress",
    "UpReport",
    "open_cluster",
]


def open_cluster(on: str, name: str = "default", node_image: str | None = None) -> Cluster:
    """The cluster meant by `--on` and `--name`; nothing is started or contacted yet.

    on: "local", "kind" or "context:NAME". name: which lab, a DNS label; two names never disturb each other.
    node_image: of kind's nodes, kind's own default where None. Raises BadClusterInput.
    """
    if on == "local":
        from lab.clusters.local.provider import LocalCluster

        return LocalCluster(name)
    if on == "kind":
        from lab.clusters.kind import KindCluster, check_name

        return KindCluster(check_name(name), node_image)
    if on.startswith("context:") and len(on) > len("context:"):
        from lab.clusters.context import ContextCluster

        return ContextCluster(on.removeprefix("context:"), name)
    raise BadClusterInput(f"--on {on!r} is not a cluster", "use local, kind or context:NAME")
