"""A cluster that exists already, by the name of its context in the user's kubeconfig.

Creates nothing and ends nothing: `up` only checks that the API answers. What the lab deploys there is removed
by the steps that deployed it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from kubernetes import config
from kubernetes.client import ApiClient, CoreApi
from kubernetes.config.config_exception import ConfigException

from lab.clusters.base import ClusterStatus, DownReport, Kind, Progress, UpReport
from lab.clusters.errors import BadClusterInput, DidNotStart

ANSWER_DEADLINE_S = 10.0


class ContextCluster:
    """`--on context:NAME`. The kubeconfig is $KUBECONFIG or ~/.kube/config, as for kubectl."""

    kind: Kind = "context"

    def __init__(self, context: str, name: str) -> None:
        self.name = name
        self.context = context

    @property
    def kubeconfig_path(self) -> Path:
        """The first existing file of $KUBECONFIG (a list, as kubectl reads it), else ~/.kube/config."""
        listed = [Path(p).expanduser() for p in os.environ.get("KUBECONFIG", "").split(os.pathsep) if p]
        for path in listed:
            if path.exists():
                return path
        return listed[0] if listed else Path.home() / ".kube" / "config"

    def up(self, progress: Progress) -> UpReport:
        """Check that the API of this context answers. Raises BadClusterInput, DidNotStart."""
        begun = time.monotonic()
        progress(f"asking the cluster of context {self.context}")
        with self.api_client() as api:
            try:
                CoreApi(api).get_api_versions(_request_timeout=ANSWER_DEADLINE_S)
            except Exception as e:  # the library lets errors of several HTTP layers through
                raise DidNotStart(
                    f"the cluster of context {self.context!r} does not answer: {_first_line(e)}",
                    f"try: kubectl --context {self.context} get nodes",
                ) from e
            server: str = api.configuration.host
        return UpReport(already_up=True, seconds=time.monotonic() - begun, server=server)

    def load(self, images: list[str], progress: Progress) -> None:
        """Nothing: the cluster pulls its images from a registry of its own."""

    def down(self, progress: Progress) -> DownReport:
        """Nothing: this cluster is not ours to end."""
        return DownReport()

    def status(self) -> ClusterStatus:
        try:
            report = self.up(lambda line: None)
        except DidNotStart as e:
            return ClusterStatus("down", e.message)
        return ClusterStatus("up", f"context {self.context} answers", report.server)

    def api_client(self) -> ApiClient:
        try:
            client: ApiClient = config.new_client_from_config(  # type: ignore[no-untyped-call]
                config_file=str(self.kubeconfig_path), context=self.context
            )
            return client
        except (ConfigException, OSError) as e:
            raise BadClusterInput(
                f"no context {self.context!r} in {self.kubeconfig_path}: {_first_line(e)}",
                "list them with: kubectl config get-contexts",
            ) from e


def _first_line(e: Exception) -> str:
    return (str(e) or type(e).__name__).splitlines()[0][:200]
