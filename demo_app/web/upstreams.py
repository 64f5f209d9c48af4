"""The web front's calls to catalogue and voting: one long-lived channel each. Knows no HTTP."""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from demo_app.candidates import BY_ID
from demo_app.common.peers import connect
from demo_app.proto import catalogue_pb2, voting_pb2
from demo_app.web.errors import UnknownCandidateError, UpstreamError

CATALOGUE = catalogue_pb2.DESCRIPTOR.services_by_name["Catalogue"].full_name
VOTING = voting_pb2.DESCRIPTOR.services_by_name["Voting"].full_name
DEADLINE_S = 5.0


@dataclass(frozen=True, slots=True)
class Vote:
    """served_by: the pod that counted; votes: the candidate's at that pod."""

    served_by: str
    votes: int


class Upstreams:
    """Both channels; every method raises UpstreamError with the gRPC code when the call fails."""

    def __init__(self, catalogue_target: str, voting_target: str) -> None:
        self._catalogue = connect(catalogue_target)
        self._voting = connect(voting_target)
        self._list = self._catalogue.unary_unary(
            f"/{CATALOGUE}/List",
            request_serializer=catalogue_pb2.ListRequest.SerializeToString,
            response_deserializer=catalogue_pb2.ListReply.FromString,
        )
        self._results = self._voting.unary_unary(
            f"/{VOTING}/Results",
            request_serializer=voting_pb2.ResultsRequest.SerializeToString,
            response_deserializer=voting_pb2.ResultsReply.FromString,
        )
        self._votes = {
            c.id: self._voting.unary_unary(
                f"/{VOTING}/{c.rpc}",
                request_serializer=voting_pb2.VoteRequest.SerializeToString,
                response_deserializer=voting_pb2.VoteReply.FromString,
            )
            for c in BY_ID.values()
        }

    async def candidates(self) -> list[dict[str, str]]:
        """[{id, name, emoji}] in the catalogue's order."""
        try:
            reply = await self._list(catalogue_pb2.ListRequest(), timeout=DEADLINE_S)
        except grpc.aio.AioRpcError as e:
            raise UpstreamError("catalogue", e.code(), e.details()) from e
        return [{"id": c.id, "name": c.name, "emoji": c.emoji} for c in reply.candidates]

    async def vote(self, candidate_id: str) -> Vote:
        """Cast one vote. Raises UnknownCandidateError too."""
        call = self._votes.get(candidate_id)
        if call is None:
            raise UnknownCandidateError(candidate_id)
        try:
            reply = await call(voting_pb2.VoteRequest(), timeout=DEADLINE_S)
        except grpc.aio.AioRpcError as e:
            raise UpstreamError("voting", e.code(), e.details()) from e
        return Vote(reply.served_by, reply.votes)

    async def results(self) -> tuple[str, dict[str, int]]:
        """(pod, votes by candidate id) of whichever voting pod answers."""
        try:
            reply = await self._results(voting_pb2.ResultsRequest(), timeout=DEADLINE_S)
        except grpc.aio.AioRpcError as e:
            raise UpstreamError("voting", e.code(), e.details()) from e
        return reply.served_by, {t.candidate_id: t.votes for t in reply.tallies}

    async def close(self) -> None:
        await self._catalogue.close(None)
        await self._voting.close(None)
