"""The RPCs of voting and catalogue, over loopback."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from demo_app.candidates import CANDIDATES, Candidate
from demo_app.proto import catalogue_pb2, catalogue_pb2_grpc, voting_pb2, voting_pb2_grpc
from tests.support import wait_until
from tests.unit.demo_app.harness import VOTING, Process, running, vote

BROKEN = "waffle"


def test_the_table_and_the_proto_have_the_same_candidates() -> None:
    methods = {m.name for m in voting_pb2.DESCRIPTOR.services_by_name["Voting"].methods}
    assert {c.rpc for c in CANDIDATES} == methods - {"Results"}


@pytest.mark.parametrize("candidate", [c for c in CANDIDATES if c.id != BROKEN], ids=lambda c: c.id)
def test_a_vote_is_counted_and_names_its_pod(channel: grpc.Channel, candidate: Candidate) -> None:
    call = vote(channel, candidate.rpc)
    first, second = (call(voting_pb2.VoteRequest(), timeout=5) for _ in range(2))
    assert (first.served_by, second.served_by) == ("voting-a", "voting-a")
    assert second.votes == first.votes + 1


def test_one_candidate_always_fails_and_is_counted_as_such(channel: grpc.Channel, voting: Process) -> None:
    for _ in range(3):
        with pytest.raises(grpc.RpcError) as failed:
            vote(channel, "VoteWaffle")(voting_pb2.VoteRequest(), timeout=5)
        assert failed.value.code() is grpc.StatusCode.INTERNAL
    # A call is counted where it ends, a moment after its answer has gone out.
    key = ("INTERNAL", "VoteWaffle", VOTING)
    wait_until(lambda: voting.samples("grpc_server_handled_total").get(key) == 3, 5, "the failures are counted")


def test_results_hold_every_candidate_with_the_most_votes_first(channel: grpc.Channel) -> None:
    for _ in range(5):
        vote(channel, "VotePretzel")(voting_pb2.VoteRequest(), timeout=5)
    stub = voting_pb2_grpc.VotingStub(channel)  # type: ignore[no-untyped-call]
    reply = stub.Results(voting_pb2.ResultsRequest(), timeout=5)
    assert reply.served_by == "voting-a"
    assert reply.tallies[0].candidate_id == "pretzel"
    votes = {t.candidate_id: t.votes for t in reply.tallies}
    assert set(votes) == {c.id for c in CANDIDATES}
    assert votes[BROKEN] == 0


def test_health_and_reflection_answer(channel: grpc.Channel) -> None:
    request = health_pb2.HealthCheckRequest(service=VOTING)
    reply = health_pb2_grpc.HealthStub(channel).Check(request, timeout=5)
    assert reply.status == health_pb2.HealthCheckResponse.SERVING
    assert VOTING in ProtoReflectionDescriptorDatabase(channel).get_services()


def test_the_catalogue_lists_and_gets_and_refuses_the_unknown(tmp_path: Path) -> None:
    with (
        running("demo_app.catalogue", tmp_path / "log", POD_NAME="catalogue-a") as catalogue,
        grpc.insecure_channel(catalogue.address) as channel,
    ):
        stub = catalogue_pb2_grpc.CatalogueStub(channel)  # type: ignore[no-untyped-call]
        listed = stub.List(catalogue_pb2.ListRequest(), timeout=5)
        assert [c.id for c in listed.candidates] == [c.id for c in CANDIDATES]
        got = stub.Get(catalogue_pb2.GetRequest(id="taco"), timeout=5)
        assert (got.served_by, got.candidate.rpc) == ("catalogue-a", "VoteTaco")
        with pytest.raises(grpc.RpcError) as failed:
            stub.Get(catalogue_pb2.GetRequest(id="gruel"), timeout=5)
        assert failed.value.code() is grpc.StatusCode.NOT_FOUND
