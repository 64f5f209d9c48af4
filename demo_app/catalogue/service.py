"""The table of candidates over gRPC. Knows nothing of the server around it."""

from __future__ import annotations

import grpc

from demo_app.candidates import BY_ID, CANDIDATES, Candidate
from demo_app.common.grpc_types import Context
from demo_app.proto import catalogue_pb2, catalogue_pb2_grpc

SERVICE: str = catalogue_pb2.DESCRIPTOR.services_by_name["Catalogue"].full_name


class CatalogueService(catalogue_pb2_grpc.CatalogueServicer):
    """balancelab.catalogue.v1.Catalogue."""

    def __init__(self, pod: str) -> None:
        self._pod = pod

    async def List(self, request: catalogue_pb2.ListRequest, context: Context) -> catalogue_pb2.ListReply:
        """Every candidate, in the table's order."""
        return catalogue_pb2.ListReply(served_by=self._pod, candidates=[_message(c) for c in CANDIDATES])

    async def Get(self, request: catalogue_pb2.GetRequest, context: Context) -> catalogue_pb2.GetReply:
        """One candidate, or NOT_FOUND."""
        candidate = BY_ID.get(request.id)
        if candidate is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no candidate {request.id!r}; see List")
        return catalogue_pb2.GetReply(served_by=self._pod, candidate=_message(candidate))


def _message(candidate: Candidate) -> catalogue_pb2.Candidate:
    return catalogue_pb2.Candidate(id=candidate.id, name=candidate.name, emoji=candidate.emoji, rpc=candidate.rpc)
