"""The bot against a real voting server: what it reports is what the server counted."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import wait_until
from tests.unit.demo_app.harness import ANY_PORT, ROOT, Process, environment, run, running


@pytest.fixture
def target(tmp_path: Path) -> Any:
    """A voting server of this test alone, for its counts are compared."""
    with running("demo_app.voting", tmp_path / "log", POD_NAME="voting-b") as process:
        yield process


def report(*args: str) -> dict[str, Any]:
    ended = run("demo_app.bot", "--admin", ANY_PORT, "--json", *args)
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


@pytest.mark.parametrize("channels", [1, 3])
def test_its_counts_are_the_servers_counts(target: Process, channels: int) -> None:
    seen = report("--voting-target", target.address, "--requests", "400", "--rate", "400", "--channels", str(channels))
    counted = target.samples("grpc_server_handled_total")
    by_code: dict[str, float] = {}
    by_route: dict[str, float] = {}
    for (code, method, service), count in counted.items():
        by_code[code] = by_code.get(code, 0) + count
        route = f"/{service}/{method}"
        by_route[route] = by_route.get(route, 0) + count
    assert seen["requests"] == 400
    assert seen["ok"] == by_code["OK"]
    assert seen["errors_by_code"] == {c: n for c, n in by_code.items() if c != "OK"}
    assert seen["routes"] == by_route
    assert seen["pods"] == {"voting-b": seen["ok"]}
    assert seen["dropped"] == 0
    assert 0 < seen["p50_ms"] <= seen["p95_ms"] <= seen["p99_ms"]


@contextlib.contextmanager
def bot_without_end(log: Path, *args: str) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """A bot that nothing stops, and a client of its admin port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        admin = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "demo_app.bot", "--admin", admin, "--json", *args]
    with (
        log.open("w") as stderr,
        subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=stderr, text=True) as bot,
        httpx.Client(base_url=f"http://{admin}", timeout=5) as client,
    ):
        try:
            wait_until(lambda: client.get("/ready").status_code == 200, 10, "the bot is ready")
            yield bot, client
        finally:
            if bot.poll() is None:
                bot.kill()


def test_each_channel_is_a_connection_of_its_own(target: Process, tmp_path: Path) -> None:
    with bot_without_end(tmp_path / "bot", "--voting-target", target.address, "--channels", "3") as (bot, _):
        wait_until(lambda: connections(target) == 3, 10, "three connections")
        bot.send_signal(signal.SIGTERM)
        said, _err = bot.communicate(timeout=10)
    assert bot.returncode == 0
    assert json.loads(said)["pods"].keys() == {"voting-b"}


def test_it_keeps_metrics_by_route_code_and_pod(target: Process, tmp_path: Path) -> None:
    with bot_without_end(tmp_path / "bot", "--voting-target", target.address) as (_, admin):
        pizza = 'bot_requests_total{code="OK",pod="voting-b",route="/balancelab.voting.v1.Voting/VotePizza"}'
        wait_until(lambda: pizza in admin.get("/metrics").text, 10, "a vote in the metrics")
        assert 'bot_request_seconds_count{route="/balancelab.voting.v1.Voting/VotePizza"}' in (
            admin.get("/metrics").text
        )
        assert admin.get("/fault").status_code == 404


def test_a_second_signal_ends_it_with_the_calls_under_way_reported(target: Process, tmp_path: Path) -> None:
    target.admin.put("/fault", json={"delay_ms": 20000})
    flags = ("--voting-target", target.address, "--timeout", "30", "--rate", "50", "--max-in-flight", "3")
    with bot_without_end(tmp_path / "bot", *flags) as (bot, admin):
        wait_until(lambda: "bot_dropped_total 0.0" not in admin.get("/metrics").text, 10, "three in flight")
        bot.send_signal(signal.SIGTERM)
        wait_until(lambda: admin.get("/ready").status_code == 503, 5, "the bot is stopping")
        bot.send_signal(signal.SIGTERM)
        said, _err = bot.communicate(timeout=10)
    assert bot.returncode == 0
    assert json.loads(said)["errors_by_code"] == {"CANCELLED": 3}


def connections(server: Process) -> int:
    """TCP connections to the server's gRPC port, as the kernel lists them (proc(5), state 01)."""
    port = f":{int(server.address.rpartition(':')[2]):04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    rows += [line.split() for line in Path("/proc/net/tcp6").read_text().splitlines()[1:]]
    return sum(row[1].endswith(port) and row[3] == "01" for row in rows)


def test_what_exceeds_the_bound_in_flight_is_dropped_and_counted(target: Process) -> None:
    target.admin.put("/fault", json={"delay_ms": 500})
    seen = report("--voting-target", target.address, "--duration", "1", "--rate", "100", "--max-in-flight", "5")
    assert seen["requests"] + seen["dropped"] in range(95, 102)
    assert 5 <= seen["requests"] <= 15
    assert seen["p50_ms"] >= 500


def test_an_unreachable_server_and_a_late_one_are_reported_not_retried(target: Process) -> None:
    gone = report("--voting-target", "127.0.0.1:1", "--requests", "5", "--rate", "50")
    assert gone["errors_by_code"] == {"UNAVAILABLE": 5}
    assert (gone["ok"], gone["pods"]) == (0, {})
    target.admin.put("/fault", json={"delay_ms": 1000})
    late = report("--voting-target", target.address, "--requests", "5", "--rate", "50", "--timeout", "0.2")
    assert late["errors_by_code"] == {"DEADLINE_EXCEEDED": 5}
