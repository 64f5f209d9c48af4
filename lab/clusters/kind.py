"""A real cluster in docker, made by kind from kind-config.yaml.

    up     the cluster is there with all its nodes; images are put on the nodes by `load`
    down   kind deletes it; docker images stay

Names: cluster `balance-lab` (or `balance-lab-NAME`), kubeconfig in the lab's state folder, so that nobody's own
kubeconfig changes. Must not know: the demo app, how images are built.
"""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path

import platformdirs
from kubernetes import config
from kubernetes.client import ApiClient, VersionApi
from kubernetes.config.config_exception import ConfigException

from lab.clusters.base import ClusterStatus, DownReport, Kind, Progress, UpReport
from lab.clusters.errors import BadClusterInput, ClusterError, DidNotStart, DidNotStop, NotAvailable
from lab.errors import LabError
from lab.programs import Done
from lab.programs import run as run_program

CONFIG = Path(__file__).resolve().parents[2] / "kind-config.yaml"
CREATE_S, DELETE_S, LOAD_S, ANSWER_S = 300.0, 120.0, 300.0, 10.0
"""Seconds: a first node image may have to be pulled; two workers take 40 s when it is there."""

NO_REGISTRY = "where no registry answers: lab images node, then --kind-image kind-node:debian"


class KindCluster:
    """`--on kind`. node_image: kind's own default where None."""

    kind: Kind = "kind"

    def __init__(self, name: str, node_image: str | None = None) -> None:
        self.name = name
        self.node_image = node_image
        self.cluster = "balance-lab" if name == "default" else f"balance-lab-{name}"
        self.context = f"kind-{self.cluster}"

    @property
    def state_path(self) -> Path:
        # With a dot, which no lab's name has: the folders of embedded labs lie beside it.
        return platformdirs.user_state_path("grpc-balance-lab", appauthor=False) / f"kind.{self.name}"

    @property
    def kubeconfig_path(self) -> Path:
        return self.state_path / "kubeconfig"

    def up(self, progress: Progress) -> UpReport:
        """Create the cluster, or use the one that is there. Raises ClusterError."""
        begun = time.monotonic()
        self._need_docker()
        if self._exists():
            self._write_kubeconfig()
            try:
                return UpReport(True, time.monotonic() - begun, self._server())
            except DidNotStart as e:
                raise DidNotStart(
                    f"there is a kind cluster {self.cluster} already, but {e.message}",
                    f"end it with: lab down --on kind{'' if self.name == 'default' else f' --name {self.name}'}",
                ) from e
        if not CONFIG.exists():
            raise NotAvailable(f"there is no {CONFIG}", "run the lab from a checkout of the project")
        image = ["--image", self.node_image] if self.node_image else []
        progress(f"creating the kind cluster {self.cluster} (a minute, longer if its image must be pulled)")
        self.state_path.mkdir(parents=True, exist_ok=True, mode=0o700)
        done = run(
            ["kind", "create", "cluster", "--name", self.cluster, "--config", str(CONFIG), "--wait", "180s",
             "--kubeconfig", str(self.kubeconfig_path), *image],
            timeout_s=CREATE_S,
        )  # fmt: skip
        if done.code != 0:
            shutil.rmtree(self.state_path, ignore_errors=True)
            raise _not_created(done)
        report = UpReport(False, time.monotonic() - begun, self._server())
        progress(f"the cluster is ready at {report.server}")
        return report

    def load(self, images: list[str], progress: Progress) -> None:
        """Put docker's images on every node; one that is there already is left alone. Raises ClusterError."""
        progress(f"loading {', '.join(images)} into the nodes")
        done = run(["kind", "load", "docker-image", "--name", self.cluster, *images], timeout_s=LOAD_S)
        if done.code != 0:
            raise ClusterError(f"kind could not load {', '.join(images)}: {done.complaint}", "try: lab images build")

    def down(self, progress: Progress) -> DownReport:
        """Delete the cluster and the kubeconfig. Raises ClusterError."""
        begun = time.monotonic()
        gone: tuple[str, ...] = ()
        if self._exists():
            progress(f"deleting the kind cluster {self.cluster}")
            nodes = self.nodes()
            done = run(["kind", "delete", "cluster", "--name", self.cluster], timeout_s=DELETE_S, env=self._env())
            if done.code != 0:
                raise DidNotStop(f"kind could not delete {self.cluster}: {done.complaint}", "is docker running?")
            gone = tuple(f"node {n}" for n in nodes)
        had_state = self.state_path.exists()
        shutil.rmtree(self.state_path, ignore_errors=True)
        return DownReport(gone, (), self.state_path if had_state else None, time.monotonic() - begun)

    def status(self) -> ClusterStatus:
        try:
            self._need_docker()
            if not self._exists():
                return ClusterStatus("down", f"there is no kind cluster {self.cluster}")
            return ClusterStatus(
                "up", f"kind cluster {self.cluster}, {len(self.nodes())} nodes", self._server(),
                {"kubeconfig": str(self.kubeconfig_path)},
            )  # fmt: skip
        except NotAvailable as e:
            return ClusterStatus("down", e.message)
        except DidNotStart as e:
            return ClusterStatus("broken", e.message)

    def api_client(self) -> ApiClient:
        try:
            client: ApiClient = config.new_client_from_config(  # type: ignore[no-untyped-call]
                config_file=str(self.kubeconfig_path), context=self.context
            )
            return client
        except (ConfigException, OSError) as e:
            raise NotAvailable(f"the kind cluster {self.cluster} is not up", "start it with: lab up --on kind") from e

    def nodes(self) -> list[str]:
        """The nodes' names, which are their docker containers' names."""
        done = run(["kind", "get", "nodes", "--name", self.cluster])
        return done.out.split() if done.code == 0 else []

    def _exists(self) -> bool:
        done = run(["kind", "get", "clusters"])
        if done.code != 0:
            raise NotAvailable(f"kind does not work: {done.complaint}", "is docker running?")
        return self.cluster in done.out.split()

    def _need_docker(self) -> None:
        done = run(["docker", "info", "--format", "{{.ServerVersion}}"], timeout_s=20)
        if done.code != 0:
            raise NotAvailable(f"docker does not answer: {done.complaint}", "start it (dockerd), or use --on local")

    def _write_kubeconfig(self) -> None:
        self.state_path.mkdir(parents=True, exist_ok=True, mode=0o700)
        args = ["kind", "export", "kubeconfig", "--name", self.cluster, "--kubeconfig", str(self.kubeconfig_path)]
        done = run(args)
        if done.code != 0:
            raise DidNotStart(f"kind gives no kubeconfig for {self.cluster}: {done.complaint}")

    def _server(self) -> str:
        """The API's URL, once it has answered. Raises DidNotStart."""
        with self.api_client() as api:
            try:
                VersionApi(api).get_code(_request_timeout=ANSWER_S)
            except Exception as e:  # the library lets errors of several HTTP layers through
                raise DidNotStart(
                    f"its API does not answer: {(str(e) or type(e).__name__).splitlines()[0][:200]}"
                ) from e
            server: str = api.configuration.host
        return server

    def _env(self) -> dict[str, str]:
        # `kind delete` edits the kubeconfig it finds: ours, never the user's own.
        return {"KUBECONFIG": str(self.kubeconfig_path)}


def run(args: list[str], *, timeout_s: float = 60.0, env: dict[str, str] | None = None) -> Done:
    """As lab.programs.run; raises NotAvailable."""
    try:
        return run_program(args, timeout_s=timeout_s, env=env)
    except LabError as e:
        raise NotAvailable(e.message, e.hint) from e


def _not_created(done: Done) -> ClusterError:
    """kind's complaint as one line with what to do about it."""
    said, last = done.err, done.complaint
    if "failed to pull image" in said or "No such image" in said:
        return NotAvailable("kind cannot get its node image", NO_REGISTRY)
    if "address already in use" in said or "port is already allocated" in said:
        return DidNotStart(f"a port that kind needs is taken: {last}", "see which program has it: ss -ltnp")
    if "too many open files" in said or "inotify" in said:
        return DidNotStart(f"inotify limits are too low: {last}", "sysctl fs.inotify.max_user_instances=512")
    if "no space left" in said:
        return DidNotStart(f"the disk is full: {last}", "docker system df tells what docker keeps")
    return DidNotStart(f"kind could not create the cluster: {last}", "docker ps and docker info may tell why")


def check_name(name: str) -> str:
    """A lab's name that can be part of a cluster's name. Raises BadClusterInput."""
    # A node is called balance-lab-NAME-control-plane, and a host's name has 63 characters at most.
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?", name):
        raise BadClusterInput(
            f"--name {name!r} cannot name a cluster",
            "use up to 30 of a-z, 0-9 and -, beginning and ending with a letter or digit",
        )
    return name
