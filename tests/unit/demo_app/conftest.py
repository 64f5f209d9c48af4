"""One voting process for all tests of a module, and a channel to it."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from tests.unit.demo_app.harness import Process, running


@pytest.fixture(scope="module")
def voting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    log = tmp_path_factory.mktemp("voting") / "log"
    with running("demo_app.voting", log, POD_NAME="voting-a") as process:
        yield process


@pytest.fixture
def channel(voting: Process) -> Iterator[grpc.Channel]:
    voting.admin.delete("/fault")
    with grpc.insecure_channel(voting.address) as channel:
        yield channel
    voting.admin.delete("/fault")
