"""Clients as people use them: grpc-js, curl, nghttp, h2load. (grpcio: tests/proxy/test_grpc.py.)"""

from __future__ import annotations

import hashlib
import json
import random
import re
import subprocess
from pathlib import Path

import pytest

from tests.conformance.tools import DEBIAN, nghttpd, tool
from tests.proxy.harness import echo_server, needs, proxy
from tests.support import wait_until

SCRIPT = Path(__file__).with_name("grpc_js_client.js")


def run(*command: str, timeout: float = 120) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, capture_output=True, timeout=timeout, check=False)


def test_grpc_js_makes_every_kind_of_call() -> None:
    node = needs("node", "apt-get install nodejs")
    library = tool("js/node_modules/@grpc/grpc-js")
    with echo_server("a") as (a, _), echo_server("b") as (b, _), proxy([a, b]) as p:
        done = run(node, str(SCRIPT), library, str(p.port))
        assert done.returncode == 0, done.stderr.decode()
        assert json.loads(done.stdout) == {
            "unary": "hello",
            "big": True,
            "many": 1000,
            "fail": [9, "as äsked, 100 %"],
            "unknown": 12,
            "deadline": 4,
            "server": 50,
            "client": "100",
            "bidi": ["cba", "fed"],
            "cancel": 1,
        }
        wait_until(lambda: p.metric("ewma_proxy_requests_in_flight") == 0, 5, "nothing is in flight")


@pytest.mark.parametrize("size", [64 << 20, pytest.param(1 << 30, marks=pytest.mark.long)], ids=["64 MiB", "1 GiB"])
def test_curl_gets_a_big_body_and_sends_it_back_unchanged(size: int, tmp_path: Path) -> None:
    curl = needs("curl", "apt-get install curl")
    block = random.Random(2).randbytes(1 << 20)
    expected = hashlib.sha256()
    with (tmp_path / "big").open("wb") as big:
        for _ in range(size >> 20):
            big.write(block)
            expected.update(block)
    with nghttpd(tmp_path, "--echo-upload") as backend, proxy([f"127.0.0.1:{backend}"]) as p:
        before = p.rss_mib()
        url = f"http://127.0.0.1:{p.port}/big"
        for how in ((), ("-X", "POST", "-T", str(tmp_path / "big"))):
            got = tmp_path / "got"
            done = run(curl, "-sS", "--http2-prior-knowledge", "-o", str(got), "-w", "%{http_code}", *how, url)
            assert (done.stdout, done.stderr) == (b"200", b"")
            with got.open("rb") as f:
                assert hashlib.file_digest(f, "sha256").digest() == expected.digest()
        assert p.rss_mib() < before + 12


def test_nghttp_fetches_many_things_at_once(tmp_path: Path) -> None:
    nghttp = needs("nghttp", DEBIAN)
    for i in range(20):
        (tmp_path / str(i)).write_bytes(bytes([i]) * 100_000)
    with nghttpd(tmp_path) as backend, proxy([f"127.0.0.1:{backend}"]) as p:
        done = run(nghttp, *(f"http://127.0.0.1:{p.port}/{i}" for i in range(20)))
        assert done.returncode == 0
        assert sorted(set(done.stdout)) == list(range(20))
        assert len(done.stdout) == 20 * 100_000


@pytest.mark.parametrize(
    ("requests", "connections"),
    [(20_000, 50), (30_000, 100), pytest.param(200_000, 50, marks=pytest.mark.long)],
    ids=["20k requests", "10k streams at once", "200k requests"],
)
def test_h2load_loses_no_request(requests: int, connections: int, tmp_path: Path) -> None:
    """100 streams on each connection, windows of 64 KiB and 1 MiB; two back ends that take 100 streams a connection,
    and 8 connections each, so that most requests wait for room."""
    h2load = needs("h2load", DEBIAN)
    (tmp_path / "index.html").write_text("x" * 1000)
    with nghttpd(tmp_path) as a, nghttpd(tmp_path) as b, proxy([f"127.0.0.1:{a}", f"127.0.0.1:{b}"]) as p:
        flags = ["-n", str(requests), "-c", str(connections), "-m", "100", "-w", "16", "-W", "20"]
        done = run(h2load, *flags, f"http://127.0.0.1:{p.port}/", timeout=300)
        said = done.stdout.decode()
        assert f"{requests} succeeded, 0 failed, 0 errored, 0 timeout" in said, said[-800:]
        assert re.search(rf"status codes: {requests} 2xx", said)
        wait_until(lambda: p.metric("ewma_proxy_requests_in_flight") == 0, 5, "nothing is in flight")
