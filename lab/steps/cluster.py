"""Step: the cluster is up. Undo: it is gone. The only step that knows there are providers."""

from __future__ import annotations

import shutil

from lab.clusters import DownReport, UpReport
from lab.steps.context import Lab


def do(lab: Lab) -> UpReport:
    """Raises ClusterError."""
    return lab.cluster.up(lab.progress)


def undo(lab: Lab) -> DownReport:
    """Ends what `do` made, evidence included. Raises ClusterError."""
    lab.close()
    report = lab.cluster.down(lab.progress)
    shutil.rmtree(lab.evidence_dir(), ignore_errors=True)
    return report
