"""What SIGTERM does to a server with a call under way."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from demo_app.proto import voting_pb2
from tests.support import wait_until
from tests.unit.demo_app.harness import Process, running, vote


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Process]:
    with running("demo_app.voting", tmp_path / "log", POD_NAME="voting-c") as process:
        yield process


def test_a_drain_is_told_at_once_and_lets_the_call_under_way_end(server: Process) -> None:
    server.admin.put("/fault", json={"delay_ms": 2000})
    with grpc.insecure_channel(server.address) as channel, ThreadPoolExecutor(1) as pool:
        grpc.channel_ready_future(channel).result(5)
        # Longer than the pre-drain wait of 1 s: it ends within the grace period.
        under_way = pool.submit(vote(channel, "VotePizza"), voting_pb2.VoteRequest(), timeout=10)
        wait_until(under_way.running, 5, "the call is under way")
        server.popen.send_signal(signal.SIGTERM)
        wait_until(lambda: server.admin.get("/ready").status_code == 503, 0.8, "/ready says no")
        assert server.admin.get("/live").status_code == 200
        check = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        assert check.status == health_pb2.HealthCheckResponse.NOT_SERVING
        # The pre-drain wait: a client that has not heard yet is still served.
        server.admin.delete("/fault")
        assert vote(channel, "VoteTaco")(voting_pb2.VoteRequest(), timeout=5).served_by == "voting-c"
        assert under_way.result(10).votes == 1
    assert server.popen.wait(10) == 0


def test_a_second_signal_does_not_wait_for_calls_under_way(server: Process) -> None:
    server.admin.put("/fault", json={"delay_ms": 15000})
    with grpc.insecure_channel(server.address) as channel:
        under_way = vote(channel, "VotePizza").future(voting_pb2.VoteRequest(), timeout=20)
        wait_until(under_way.running, 5, "the call is under way")
        start = time.monotonic()
        server.popen.send_signal(signal.SIGTERM)
        wait_until(lambda: server.admin.get("/ready").status_code == 503, 5, "/ready says no")
        server.popen.send_signal(signal.SIGTERM)
        assert server.popen.wait(10) == 0
        assert time.monotonic() - start < 5
        assert under_way.code() is not grpc.StatusCode.OK
