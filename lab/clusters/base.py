"""The one interface behind which every cluster stands, and the shapes it hands out.

A provider brings a cluster up, takes it down and gives a kubeconfig; whatever is done inside the cluster goes
through the Kubernetes API with that kubeconfig and is the same for all of them.
Must not know: any provider, the demo app, the steps of the lab.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:  # the client library takes long to import, and the cluster's own daemon has no use for it
    from kubernetes.client import ApiClient

Kind = Literal["local", "kind", "context"]

Progress = Callable[[str], None]
"""Called with one short line whenever there is news for a person who waits."""


@dataclass(frozen=True)
class UpReport:
    """already_up: nothing had to be done. seconds: how long it took. server: the API's URL."""

    already_up: bool
    seconds: float
    server: str
    cleaned: tuple[str, ...] = ()  # leftovers of an earlier, crashed run that were ended first


@dataclass(frozen=True)
class DownReport:
    """What `down` ended.

    stopped: what ended by itself when asked to, killed: what had to be forced; each as "pid 12:
    namespace/pod/container". state_removed: the folder that is gone, if there was one.
    """

    stopped: tuple[str, ...] = ()
    killed: tuple[str, ...] = ()
    state_removed: Path | None = None
    seconds: float = 0.0

    @property
    def nothing_to_do(self) -> bool:
        return not (self.stopped or self.killed or self.state_removed)


@dataclass(frozen=True)
class ClusterStatus:
    """state: "up", "down", or "broken" (parts of it are left; `down` clears them). detail: one line."""

    state: Literal["up", "down", "broken"]
    detail: str
    server: str = ""
    extra: dict[str, str] = field(default_factory=dict)


class Cluster(Protocol):
    """A Kubernetes cluster the lab can use. Every method raises ClusterError and nothing else on purpose."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> Kind: ...

    @property
    def context(self) -> str:
        """The context's name inside `kubeconfig_path`."""
        ...

    @property
    def kubeconfig_path(self) -> Path: ...

    def up(self, progress: Progress) -> UpReport:
        """Make the cluster usable; returns once its API says it is ready. Doing it twice is harmless."""
        ...

    def load(self, images: list[str], progress: Progress) -> None:
        """Put images of this machine's docker where the cluster's pods find them; nothing where pods use no images
        of docker's.
        """
        ...

    def down(self, progress: Progress) -> DownReport:
        """End everything `up` made, and nothing else. Doing it twice is harmless."""
        ...

    def status(self) -> ClusterStatus: ...

    def api_client(self) -> ApiClient:
        """A client of the official library for this cluster. Raises ClusterError when it is not up."""
        ...
