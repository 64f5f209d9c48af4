"""grpc-go's interop client and server through the proxy: the 18 cases of its interop_test.sh."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.conformance.tools import running, tool
from tests.proxy.harness import Proxy, free_port, proxy

CASES = [
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "timeout_on_sleeping_server",
    "cancel_after_begin",
    "cancel_after_first_response",
    "status_code_and_message",
    "special_status_message",
    "custom_metadata",
    "unimplemented_method",
    "unimplemented_service",
    "orca_per_rpc",
    "orca_oob",
    "rpc_soak",
    "channel_soak",
]
# As interop_test.sh has it: the client reads load reports only with this balancer.
ORCA = '{"loadBalancingConfig": [{"test_backend_metrics_load_balancer": {}}]}'


@pytest.fixture(scope="module")
def fleet() -> Iterator[Proxy]:
    """Two servers: each case finds them as if they were one."""
    server = tool("interop-server")
    one, two = free_port(), free_port()
    with (
        running([server, f"-port={one}"], one),
        running([server, f"-port={two}"], two),
        proxy([f"127.0.0.1:{one}", f"127.0.0.1:{two}"]) as p,
    ):
        yield p


@pytest.fixture(scope="module")
def single() -> Iterator[Proxy]:
    """One server, for what keeps state between calls."""
    port = free_port()
    with running([tool("interop-server"), f"-port={port}"], port), proxy([f"127.0.0.1:{port}"]) as p:
        yield p


@pytest.mark.parametrize("case", CASES)
def test_case(case: str, request: pytest.FixtureRequest) -> None:
    p: Proxy = request.getfixturevalue("single" if case.startswith("orca") else "fleet")
    command = [
        *(tool("interop-client"), "-use_tls=false", "-server_host=127.0.0.1", f"-server_port={p.port}"),
        *(f"-test_case={case}", "-soak_iterations=1000", "-soak_min_time_ms_between_rpcs=0"),
        *("-soak_max_failures=0", "-soak_overall_timeout_seconds=60"),
        *([f"-service_config_json={ORCA}"] if case.startswith("orca") else []),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert p.metric("ewma_proxy_requests_in_flight") == 0
