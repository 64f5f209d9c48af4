"""Step: the cluster is up and has the lab's images. Undo: it is gone. The only step that knows of providers."""

from __future__ import annotations

import shutil

from lab.clusters import DownReport, UpReport
from lab.steps.context import Lab


def do(lab: Lab) -> UpReport:
    """Bring it up and, where its pods run docker's images, build and load those. Raises ClusterError, LabError."""
    report = lab.cluster.up(lab.progress)
    if lab.cluster.kind == "kind":
        try:
            load_images(lab)
        except BaseException:
            if not report.already_up:
                undo(lab)
            raise
    return report


def load_images(lab: Lab) -> None:
    """Put the lab's own images, unless others were named, on the cluster's nodes; built first if they are stale."""
    from lab.images import NAMES, build

    own = [build(name, lab.progress) for name in NAMES if name not in (lab.images or {})]
    lab.cluster.load([*own, *(lab.images or {}).values()], lab.progress)


def undo(lab: Lab) -> DownReport:
    """Ends what `do` made, evidence included. Raises ClusterError."""
    lab.close()
    report = lab.cluster.down(lab.progress)
    shutil.rmtree(lab.evidence_dir(), ignore_errors=True)
    return report
