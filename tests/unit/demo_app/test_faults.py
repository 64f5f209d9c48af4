"""Faults, turned on and off over the admin port."""

from __future__ import annotations

import time
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from demo_app.proto import voting_pb2
from tests.support import wait_until
from tests.unit.demo_app.harness import VOTING, Process, vote

NONE = {"delay_ms": 0, "failure_rate": 0.0, "fail_fast": False, "code": "UNAVAILABLE"}


def call(channel: grpc.Channel) -> tuple[str, float]:
    """One vote: its code's name and the seconds it took."""
    start = time.monotonic()
    try:
        vote(channel, "VotePizza")(voting_pb2.VoteRequest(), timeout=5)
        code = "OK"
    except grpc.RpcError as e:
        code = e.code().name
    return code, time.monotonic() - start


def test_a_delay_slows_calls_until_it_is_deleted(channel: grpc.Channel, voting: Process) -> None:
    assert voting.admin.put("/fault", json={"delay_ms": 300}).json() == NONE | {"delay_ms": 300}
    code, took = call(channel)
    assert code == "OK"
    assert took >= 0.3
    assert voting.admin.delete("/fault").json() == NONE
    assert voting.admin.get("/fault").json() == NONE
    assert call(channel)[1] < 0.3


@pytest.mark.parametrize("code", ["UNAVAILABLE", "RESOURCE_EXHAUSTED"])
def test_failures_have_the_code_asked_for_and_are_counted(channel: grpc.Channel, voting: Process, code: str) -> None:
    voting.admin.put("/fault", json={"failure_rate": 1, "code": code})
    assert call(channel)[0] == code
    # A call is counted where it ends, a moment after its answer has gone out.
    key = (code, "VotePizza", VOTING)
    wait_until(lambda: voting.samples("grpc_server_handled_total").get(key, 0) >= 1, 5, "the failure is counted")


def test_failing_fast_skips_the_delay(channel: grpc.Channel, voting: Process) -> None:
    voting.admin.put("/fault", json={"delay_ms": 2000, "failure_rate": 1, "fail_fast": True})
    code, took = call(channel)
    assert code == "UNAVAILABLE"
    assert took < 1


def test_health_is_spared(channel: grpc.Channel, voting: Process) -> None:
    voting.admin.put("/fault", json={"failure_rate": 1})
    reply = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
    assert reply.status == health_pb2.HealthCheckResponse.SERVING
    assert voting.admin.get("/ready").status_code == 200


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (
            {"delay_ms": -1, "failure_rate": 2, "code": "OK", "typo": 1},
            ["delay_ms", "failure_rate", "code", "typo"],
        ),
        ({"delay_ms": True}, ["delay_ms"]),
        ({"delay_ms": 1.5}, ["delay_ms"]),
        ({"fail_fast": True}, ["failure_rate"]),
        ({"code": ["OK"]}, ["code"]),
        ([], ["object"]),
    ],
)
def test_a_bad_fault_is_refused_with_all_that_is_wrong_and_changes_nothing(
    voting: Process, body: Any, names: list[str]
) -> None:
    answer = voting.admin.put("/fault", json=body)
    assert answer.status_code == 400
    assert all(name in answer.json()["error"] for name in names)
    assert voting.admin.get("/fault").json() == NONE


def test_a_body_that_is_not_json_or_is_huge_is_refused(voting: Process) -> None:
    for content in (b"{", b"\xff", b'{"delay_ms": NaN}', b" " * 100_000):
        assert voting.admin.put("/fault", content=content).status_code == 400
