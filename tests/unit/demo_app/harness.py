"""The app's processes as the tests run them: real ones, on loopback ports the system chooses."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
from prometheus_client.parser import text_string_to_metric_families

from demo_app.proto import voting_pb2
from tests.support import wait_until

ROOT = Path(__file__).resolve().parents[3]
VOTING = "balancelab.voting.v1.Voting"
ANY_PORT = "127.0.0.1:0"


class Process:
    """One running part of the app. address: HOST:PORT of its service; admin: a client of its admin port."""

    def __init__(self, popen: subprocess.Popen[str], log: Path, address: str, admin: str) -> None:
        self.popen = popen
        self.log = log
        self.address = address
        self.admin = httpx.Client(base_url=f"http://{admin}", timeout=5)

    def samples(self, name: str) -> dict[tuple[str, ...], float]:
        """Samples of that name by their label values, in the order of the labels' names."""
        text = self.admin.get("/metrics").text
        found = [s for f in text_string_to_metric_families(text) for s in f.samples if s.name == name]
        return {tuple(v for _, v in sorted(s.labels.items())): s.value for s in found}


def environment(**env: str) -> dict[str, str]:
    """This process's, without what would set options of the app."""
    ours = ("LISTEN", "ADMIN", "POD_", "VOTING_", "CATALOGUE_", "BOT_", "PRE_DRAIN_", "GRACE_")
    return {k: v for k, v in os.environ.items() if not k.startswith(ours)} | env


def run(module: str, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a part of the app to its end (20 s at most)."""
    return subprocess.run(
        [sys.executable, "-m", module, *args],
        cwd=ROOT,
        env=environment(**env),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


@contextlib.contextmanager
def running(module: str, log: Path, *args: str, **env: str) -> Iterator[Process]:
    """A part of the app from the moment it serves; killed at the end if it still runs."""
    command = [sys.executable, "-m", module, "--admin", ANY_PORT, "--listen", ANY_PORT, *args]
    with log.open("w") as stderr:
        popen = subprocess.Popen(command, cwd=ROOT, env=environment(**env), stderr=stderr, text=True)
    process = None
    try:
        said = wait_until(lambda: re.findall(r"serving .*", log.read_text()), 10, f"{module} serves")
        address, admin = re.findall(r"127\.0\.0\.1:\d+", said[0])
        process = Process(popen, log, address, admin)
        yield process
    finally:
        if process is not None:
            process.admin.close()
        if popen.poll() is None:
            popen.kill()
        popen.wait(10)


def vote(channel: grpc.Channel, rpc: str) -> Any:
    """A callable for one Vote* method."""
    return channel.unary_unary(
        f"/{VOTING}/{rpc}",
        request_serializer=voting_pb2.VoteRequest.SerializeToString,
        response_deserializer=voting_pb2.VoteReply.FromString,
    )
