"""Before the first list: not ready, and requests wait a bounded time and then fail with a reason."""

from __future__ import annotations

import http.client
import socket
import subprocess
import time
from pathlib import Path

import grpc
import pytest

from tests.proxy.harness import client, free_port, proxy_binary
from tests.support import wait_until

KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: c
contexts: [{{name: c, context: {{cluster: c, user: u}}}}]
clusters: [{{name: c, cluster: {{server: "http://127.0.0.1:{port}"}}}}]
users: [{{name: u, user: {{}}}}]
"""


def test_without_a_first_list_it_is_not_ready_and_calls_fail_within_four_seconds(tmp_path: Path) -> None:
    # An API server that takes connections and says nothing.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = tmp_path / "config"
        config.write_text(KUBECONFIG.format(port=silent.getsockname()[1]))
        port, admin = free_port(), free_port()
        where = ["--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}", "--service", "voting:8080"]
        process = subprocess.Popen(
            [proxy_binary(), *where, "--kubeconfig", str(config), "--namespace", "lab"], stderr=subprocess.DEVNULL
        )

        def ready() -> tuple[int, bytes]:
            connection = http.client.HTTPConnection("127.0.0.1", admin, timeout=5)
            connection.request("GET", "/ready")
            answer = connection.getresponse()
            return answer.status, answer.read()

        try:
            status, why = wait_until(ready, 5, "the admin port answers")
            assert status == 503
            assert why.startswith(b"not ready: ")
            with client(port) as c:
                start = time.monotonic()
                with pytest.raises(grpc.RpcError) as failed:
                    c.unary(b"x", timeout=20)
                took = time.monotonic() - start
            assert failed.value.code() == grpc.StatusCode.UNAVAILABLE
            assert "no endpoint is ready for lab/voting:8080" in failed.value.details()
            assert 2.9 <= took <= 4, f"{took:.1f} s"
            assert ready()[0] == 503
            process.terminate()
            assert process.wait(timeout=5) == 0
        finally:
            process.kill()
            process.wait()
