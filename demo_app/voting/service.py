"""The votes of one pod, in memory, and the RPCs that cast them. Knows nothing of the server around it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import grpc

from demo_app.candidates import CANDIDATES, Candidate
from demo_app.common.grpc_types import Context
from demo_app.proto import voting_pb2, voting_pb2_grpc

SERVICE: str = voting_pb2.DESCRIPTOR.services_by_name["Voting"].full_name


class Ballot:
    """Votes by candidate id.

    Tallies are kept in slots, one per letter of the alphabet and no more: an odd scheme with a bug left in on
    purpose. One candidate can never be voted for; which one is what the lab's exercise asks a reader to find
    from the metrics.
    """

    SLOTS = "abcdefghijklmnopqrstuv"

    def __init__(self) -> None:
        self._slots = {letter: Counter[str]() for letter in self.SLOTS}

    def add(self, candidate: Candidate) -> int:
        """Count one vote; gives the candidate's votes. Raises KeyError when it has no slot."""
        slot = self._slots[candidate.id[0]]
        slot[candidate.id] += 1
        return slot[candidate.id]

    def tallies(self) -> list[tuple[str, int]]:
        """(candidate id, votes) of every candidate, most votes first."""
        counts = Counter[str]()
        for slot in self._slots.values():
            counts.update(slot)
        return sorted(((c.id, counts[c.id]) for c in CANDIDATES), key=lambda pair: -pair[1])


class VotingService(voting_pb2_grpc.VotingServicer):
    """balancelab.voting.v1.Voting. The Vote* methods are made from the table of candidates below."""

    def __init__(self, pod: str) -> None:
        self._pod = pod
        self._ballot = Ballot()

    async def vote(self, candidate: Candidate, context: Context) -> voting_pb2.VoteReply:
        """Count one vote, or abort with INTERNAL when the tally cannot take it."""
        try:
            votes = self._ballot.add(candidate)
        except KeyError as e:
            await context.abort(grpc.StatusCode.INTERNAL, f"the tally has no slot {e}")
        return voting_pb2.VoteReply(served_by=self._pod, votes=votes)

    async def Results(self, request: voting_pb2.ResultsRequest, context: Context) -> voting_pb2.ResultsReply:
        """This pod's tally."""
        tallies = [voting_pb2.Tally(candidate_id=c, votes=n) for c, n in self._ballot.tallies()]
        return voting_pb2.ResultsReply(served_by=self._pod, tallies=tallies)


def _vote_method(candidate: Candidate) -> Any:
    async def vote(self: VotingService, request: voting_pb2.VoteRequest, context: Context) -> voting_pb2.VoteReply:
        return await self.vote(candidate, context)

    return vote


for _candidate in CANDIDATES:
    setattr(VotingService, _candidate.rpc, _vote_method(_candidate))
