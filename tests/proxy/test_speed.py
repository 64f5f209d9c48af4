"""What the data path costs, as far as it can be told on a busy machine: system calls and memory.

Times are for `make bench`; these are counts, and hold whatever else runs.
"""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import backends, held
from bench.measure import memory
from tests.proxy.harness import Proxy, echo_server, free_port, needs, proxy
from tests.support import wait_until

#: KiB. Heap and stacks of a proxy with a static list that has nothing to do; the rest of its RSS is its own file.
IDLE_ANON = 700
#: Bytes.
PER_CONNECTION, PER_STREAM = 8 << 10, 1 << 10
#: System calls a request may take with 8 clients × 16 streams: 6 if nothing were done together.
CALLS_PER_REQUEST = 1.0


@pytest.fixture
def idle() -> Iterator[Proxy]:
    with echo_server("a") as (address, _), proxy([address]) as p:
        yield p


def anon(p: Proxy) -> int:
    return memory(p.process.pid).anon * 1024


def test_an_idle_proxy_holds_little(idle: Proxy) -> None:
    assert anon(idle) / 1024 < IDLE_ANON


def test_an_idle_connection_costs_less_than_8_kib(idle: Proxy) -> None:
    with held.connections(idle.port, 20, "/echo.Echo/nothing"):
        pass
    wait_until(lambda: idle.metric("ewma_proxy_connections") == 0, 5, "no client is left")
    before = anon(idle)
    with held.connections(idle.port, 300, "/echo.Echo/nothing"):
        assert (anon(idle) - before) / 300 < PER_CONNECTION


def test_an_idle_stream_costs_less_than_1_kib(idle: Proxy) -> None:
    with held.connections(idle.port, 10, "/echo.Echo/nothing") as clients:
        before = anon(idle)
        for client in clients:
            client.begin(held.STREAMS, "/echo.Echo/client")
        wanted = 10 * held.STREAMS
        wait_until(lambda: idle.metric("ewma_proxy_requests_in_flight") >= wanted, 10, "all streams are open")
        assert (anon(idle) - before) / wanted < PER_STREAM


def test_requests_that_come_together_share_their_system_calls(tmp_path: Path) -> None:
    strace = needs("strace", "apt install strace")
    h2load = needs("h2load", "apt install nghttp2-client")
    nghttpd = needs("nghttpd", "apt install nghttp2-server")
    (tmp_path / "10").write_bytes(backends.message(10))
    port, report, requests = free_port(), tmp_path / "report", 20_000
    command = [nghttpd, "-a", "127.0.0.1", "--no-tls", "-n1", "-d", str(tmp_path), str(port)]
    core = 0
    with backends.process(command, core, port, tmp_path / "log"), proxy([f"127.0.0.1:{port}"]) as p:
        tracer = subprocess.Popen(
            [strace, "-c", "-f", "-o", str(report), "-p", str(p.process.pid)], stderr=subprocess.PIPE, text=True
        )
        assert tracer.stderr
        line = tracer.stderr.readline()
        if "attached" not in line:
            tracer.wait(5)
            pytest.skip(f"strace may not attach here: {line.strip()}")
        done = subprocess.run(
            [h2load, "-n", str(requests), "-c", "8", "-m", "16", f"http://127.0.0.1:{p.port}/10"],
            capture_output=True,
            text=True,
            timeout=60,
        )
        tracer.send_signal(signal.SIGINT)
        tracer.wait(10)
    assert f"{requests} succeeded" in done.stdout, done.stdout
    total = re.search(r"(\d+)\s+(?:\d+\s+)?total$", report.read_text(), re.M)
    assert total, report.read_text()
    assert int(total[1]) / requests < CALLS_PER_REQUEST, report.read_text()
