"""What every step is given: the cluster, its API, where news goes. Decides nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from lab.clusters import Cluster
from lab.kube import Kube
from lab.manifests import NAMESPACE


@dataclass
class Lab:
    """One lab. progress: called with a short line whenever there is news for a person who waits."""

    cluster: Cluster
    namespace: str
    progress: Callable[[str], None]
    images: dict[str, str] | None = None
    _kube: Kube | None = None

    @property
    def kube(self) -> Kube:
        """The cluster's API. Raises ClusterError when the cluster is not up."""
        if self._kube is None:
            self._kube = Kube(self.cluster.api_client())
        return self._kube

    def flags(self) -> str:
        """What a command needs to mean this lab, " --on kind" and the like; "" for the usual one."""
        on = {"local": "", "context": f" --on context:{self.cluster.context}"}.get(
            self.cluster.kind, f" --on {self.cluster.kind}"
        )
        name = "" if self.cluster.name == "default" else f" --name {self.cluster.name}"
        namespace = "" if self.namespace == NAMESPACE else f" --namespace {self.namespace}"
        return f"{on}{name}{namespace}"

    def close(self) -> None:
        if self._kube is not None:
            self._kube.close()
            self._kube = None

    def evidence_dir(self) -> Path:
        """Where reports of both states are kept side by side; removed with the lab."""
        state: Path | None = getattr(self.cluster, "state_path", None)
        if state is None:
            state = platformdirs.user_state_path("grpc-balance-lab") / f"{self.cluster.kind}.{self.cluster.context}"
        return state / "evidence" / self.namespace

    def keep(self, name: str, report: dict[str, Any]) -> Path:
        """Store a report under a name."""
        folder = self.evidence_dir()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / f"{name}.json"
        path.write_text(json.dumps(report, indent=2) + "\n")
        path.chmod(0o600)
        return path

    def kept(self, name: str) -> dict[str, Any] | None:
        """A stored report; None if there is none that can be read."""
        try:
            value = json.loads((self.evidence_dir() / f"{name}.json").read_text())
        except (OSError, ValueError):
            return None
        return value if isinstance(value, dict) else None
