"""What goes wrong between the page and the services. Knows no HTTP."""

from __future__ import annotations

import grpc

from demo_app.common.errors import DemoError


class UnknownCandidateError(DemoError):
    """No such candidate."""

    def __init__(self, candidate_id: str) -> None:
        super().__init__(f"no candidate {candidate_id[:40]!r}; GET /api/candidates lists them")


class UpstreamError(DemoError):
    """A gRPC call failed; `code` is how."""

    def __init__(self, upstream: str, code: grpc.StatusCode, details: str | None) -> None:
        super().__init__(f"{upstream} answered {code.name}: {details or 'no details'}")
        self.upstream = upstream
        self.code = code
