"""What every pod on the node shares. Values only."""

from __future__ import annotations

from dataclasses import dataclass

from lab.clusters.local.addresses import Network
from lab.clusters.local.api.store import Store
from lab.clusters.local.controllers.events import Recorder
from lab.clusters.local.images import Images
from lab.clusters.local.process import Records
from lab.clusters.local.state import StateDir
from lab.clusters.local.tokens import Tokens

NODE_NAME = "local"


@dataclass(frozen=True)
class Runtime:
    """instance: the mark of every process of this lab. ca_pem: the API server's CA. dns: "ADDRESS:PORT"
    (UDP).
    """

    store: Store
    events: Recorder
    network: Network
    images: Images
    tokens: Tokens
    records: Records
    state: StateDir
    instance: str
    ca_pem: bytes
    dns: str


class CannotStart(Exception):
    """A container cannot be started as its spec asks. reason: what `kubectl get pods` shows; message: for a
    person.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
