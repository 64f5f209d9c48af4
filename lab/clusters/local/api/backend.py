"""What the API server asks of whoever runs the pods. The embedded cluster's node implements it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Protocol


class NodeBackend(Protocol):
    """The node behind pods/log, pods/proxy and nodes/proxy. Methods may raise ApiError (say BadRequest or NotFound)."""

    def logs(
        self,
        namespace: str,
        pod: str,
        container: str,
        *,
        follow: bool,
        tail: int | None,
        previous: bool,
        since_seconds: int | None,
        timestamps: bool,
    ) -> AsyncIterator[bytes]:
        """The container's output in pieces; write it as an async generator. It is closed when the reader leaves.

        tail: number of last lines (None: all). timestamps: each line begins with its RFC 3339 time.
        """
        ...

    def resource_metrics(self) -> str:
        """The kubelet's /metrics/resource page, Prometheus text format."""
        ...

    def pod_address(self, namespace: str, pod: str) -> str | None:
        """The pod's IP, or None when it has none (yet)."""
        ...


Authenticate = Callable[[str], str | None]
"""Takes a bearer token, returns the user's name, or None for a token nobody has."""

IssueToken = Callable[[str, str, int], str]
"""Takes namespace, service account and lifetime in seconds, returns a bearer token."""
